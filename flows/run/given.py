"""What a run is given from Python: artifacts, arrays and folders in place of steps, and as inputs of steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.errors import UserError, did_you_mean
from fabloom.kinds import Artifact, ImageSet
from fabloom.pipeline import Pipeline
from fabloom.planning.given import put

if TYPE_CHECKING:
    from fabloom.kinds.store import Store

LOAD = "images.load"
"""The task that reads a folder of images."""

Given = Any
"""An artifact (in memory, or of any store), an array uint8 of images, a folder of images or an image file (a path), `ref:NAME` or
`key:HEX` of the store, or, for a port that takes several, a list of these."""


def key_of(place: str, given: Given, store: Store) -> str | None:
    """The key under which what was given lies in the store, or None for a path. Raises UserError for what is none of `Given`."""
    if isinstance(given, str) and given.startswith(("ref:", "key:")):
        return store.resolve(given)
    if isinstance(given, str | Path):
        return None
    if isinstance(given, Artifact):
        return put(store, given).key
    if hasattr(given, "__array__"):
        return put(store, ImageSet.from_arrays(given)).key
    wanted = "an artifact, an array of images, a folder, 'ref:NAME' or 'key:HEX'"
    raise UserError(f"{place}: {type(given).__name__} cannot be an input; give {wanted}")


def stored_inputs(content: Mapping[str, Any], store: Store) -> dict[str, Any]:
    """A pipeline as plain data, with artifacts and arrays among the inputs of its steps kept in the store and named by their keys.

    A `Path` there is a folder, which gets a step of its own that reads it, named after step and port.
    """
    made: dict[str, Any] = {}

    def named(step: str, port: str, source: Any, place: str = "") -> Any:
        if isinstance(source, list):
            return [named(step, port, one, f"-{index}") for index, one in enumerate(source)]
        if isinstance(source, Path):
            reading = f"{step}-{port}{place}"
            made[reading] = {"task": LOAD, "params": {"path": str(source)}}
            return reading
        return source if isinstance(source, str) else f"key:{key_of(f'steps.{step}.inputs.{port}', source, store)}"

    steps = content.get("steps")
    if not isinstance(steps, Mapping):
        return dict(content)
    for name, step in steps.items():
        asked = step.get("inputs") if isinstance(step, Mapping) else None
        stored = {port: named(name, port, source) for port, source in asked.items()} if isinstance(asked, Mapping) else {}
        made[name] = {**step, "inputs": stored} if stored else step
    return {**content, "steps": made}


def in_place_of(pipeline: Pipeline, inputs: Mapping[str, Given], store: Store) -> tuple[Pipeline, dict[str, str]]:
    """The pipeline with what was given in place of the steps of these names, and the keys of what was given.

    A folder is read by `images.load`, with the parameters of the step where it is one already. What only a replaced step needed is left
    out with it. Raises UserError for a name that is no step, and where nothing is left to run.
    """
    content = pipeline.model_dump()
    keys: dict[str, str] = {}
    for name, given in inputs.items():
        if name not in content["steps"]:
            raise UserError(f"inputs: there is no step '{name}' that could be given.{did_you_mean(name, content['steps'])}")
        key = key_of(f"inputs['{name}']", given, store)
        if key is not None:
            keys[name] = key
            continue
        step = content["steps"][name]
        params = step["params"] if step["task"] == LOAD else {}
        content["steps"][name] = {"task": LOAD, "inputs": {}, "params": {**params, "path": str(given)}, "seed": step["seed"]}
    gone = _only_for(pipeline, set(inputs)) | set(keys)
    steps = {name: step for name, step in content["steps"].items() if name not in gone}
    if not steps:
        raise UserError("inputs: every step of the pipeline is given, so nothing is left to run")
    for step in steps.values():
        step["inputs"] = {port: _renamed(source, keys) for port, source in step["inputs"].items()}
    return Pipeline.parse({**content, "steps": steps}), keys


def _renamed(source: Any, keys: Mapping[str, str]) -> Any:
    if isinstance(source, list):
        return [_renamed(one, keys) for one in source]
    return f"key:{keys[source]}" if source in keys else source


def _only_for(pipeline: Pipeline, replaced: set[str]) -> set[str]:
    """The steps that nobody but the replaced ones used, and nobody but such steps."""
    users: dict[str, set[str]] = {name: set() for name in pipeline.steps}
    for name, step in pipeline.steps.items():
        for source in step.inputs.values():
            for one in source if isinstance(source, list) else [source]:
                users.get(one, set()).add(name)
    found: set[str] = set()
    while more := {name for name, used in users.items() if used and used <= replaced | found} - replaced - found:
        found |= more
    return found
