"""`reference/hooks.md` and `reference/kinds.md`: what a plugin can implement, and the artifacts it reads and writes."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable
from dataclasses import fields
from typing import Any

from fabloom.hooks import Specs
from fabloom.kinds import BUILTIN_KINDS, Artifact, offline_specs
from fabloom.method import Context, PlannedStep, StepResult
from fabloom.registry import API, GROUP

from .markdown import NOTE, cell, code, described, prose, table

SIZES = {11: "N", 2: "K", 3: "C", 13: "H", 17: "W", 5: "L", 7: "h", 19: "w"}
"""Lengths that differ, so that a shape tells which axis is which."""


MANIFEST = """## What `manifest` holds

JSON data, as `fabloom show KEY --json` prints it; [the store](../concepts/store.md) says when it is written. What trackers want of it:

| field | what it is |
| --- | --- |
| `curves` | `{"main.loss": [[step, value], ...]}`: what `step.log(loss=...)` of `ctx.loop` recorded, 400 points and the last at most |
| `metrics` | the numbers of a report |
| `preimage` | what the key is made of: task, version, params, seed, input keys |
| `step`, `pipeline` | the names under which it was made first; in no key |
| `digest`, `kind`, `arrays` | what came out: hash, kind, dtype and shape of each array |
| `seconds`, `created`, `device`, `threads`, `precision`, `made_with`, `plugin` | the circumstances |
"""


def hooks() -> dict[str, Callable[..., Any]]:
    """Every hook specification by name."""
    return {name: function for name, function in vars(Specs).items() if name.startswith("fabloom_")}


def annotation(hint: Any) -> str:
    """An annotation as it is written in the source."""
    return hint if isinstance(hint, str) else getattr(hint, "__name__", str(hint))


def hooks_page() -> str:
    """Every hook with its arguments, and what observers are given."""
    text = NOTE + "# Hooks\n\n"
    text += (
        f"A plugin is a module (or object) behind an entry point of the group `{GROUP}`. It implements the hooks it needs, marked with "
        f"`fabloom.hookimpl`. The contract has version {API[0]}.{API[1]}. [Plugins and isolation](../concepts/plugins.md) tells what "
        "happens to one that is broken; `examples/` has a distribution for each use.\n\n"
    )
    for name, function in hooks().items():
        signature = inspect.signature(function)
        arguments = [p for p in signature.parameters.values() if p.name != "self"]
        shown = ", ".join(f"{p.name}: {annotation(p.annotation)}" for p in arguments)
        text += f"## {name}\n\n```text\n{name}({shown}) -> {annotation(signature.return_annotation)}\n```\n\n"
        text += prose(function.__doc__, f"hook {name}") + "\n\n"
        first = getattr(function, "fabloom_spec", {}).get("firstresult")
        text += "The first plugin that returns something other than None wins.\n\n" if first else ""
    text += "An implementation may name fewer arguments than the specification. A misspelt hook name makes the plugin a problem.\n\n"
    for kind, title in ((PlannedStep, "What `step` holds"), (StepResult, "What `result` holds")):
        text += f"## {title}\n\n{prose(kind.__doc__, kind.__name__)}\n\n"
        text += table(["field", "type"], [[code(f.name), code(annotation(f.type))] for f in fields(kind)])
    return text + MANIFEST


def kinds_page() -> str:
    """Every kind with its arrays, attributes it is read through, and how it is written."""
    text = NOTE + "# Kinds\n\n"
    text += (
        "An artifact is immutable; its kind says what it holds and how it is read. N, C, H, W are images, channels, height and width; "
        "L, h, w a latent; K chunks. Arrays are lazy: `shape` and `dtype` are known, slicing reads and gives numpy. Optional "
        "arrays are `None` where the artifact has none.\n\n## Every kind\n\n"
    )
    text += table(["of an artifact", "what it is"], reading_rows(Artifact))
    shapes = written_arrays()
    for kind in BUILTIN_KINDS:
        text += f"## {kind.kind}\n\n{prose(kind.__doc__, f'kind {kind.kind}')}\n\n"
        rows = [[code(name), code(dtype), code(shape)] for name, (dtype, shape) in shapes[kind.kind].items()]
        text += table(["array", "dtype", "shape"], rows)
        text += table(["reading and writing", "what it is"], reading_rows(kind))
    text += "A kind of your own subclasses `fabloom.Artifact` and is returned by the hook `fabloom_kinds`; `examples/` has one.\n"
    return text


def reading_rows(kind: type[Artifact]) -> list[list[str]]:
    """A row for each public property and method that the class itself declares."""
    rows = []
    for name, member in vars(kind).items():
        if name.startswith("_") or not (isinstance(member, property | classmethod) or inspect.isfunction(member)):
            continue
        function = member.fget if isinstance(member, property) else member.__func__ if isinstance(member, classmethod) else member
        owner = f"{kind.__name__}." if isinstance(member, classmethod) else ""
        shown = name if isinstance(member, property) else f"{owner}{call(name, function)}"
        rows.append([code(shown), cell(described(inspect.getdoc(function), f"{kind.__name__}.{name}"))])
    return rows


def call(name: str, function: Any) -> str:
    """`name(a, b, *, c)`, the names of what it takes."""
    words: list[str] = []
    for parameter in list(inspect.signature(function).parameters.values())[1:]:
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        words.append(parameter.name)
    return f"{name}({', '.join(words)})"


def written_arrays() -> dict[str, dict[str, tuple[str, str]]]:
    """kind -> array -> (dtype, shape in letters), read back from a small artifact of each kind."""
    import numpy as np
    import torch

    from fabloom.kinds import Fields, ImageSet, Model, OfflineData, Report
    from fabloom.storage.backends.local import LocalStore

    domain = np.arange(11, dtype="int8") % 2
    masks = np.zeros((11, 13, 17), "uint8")
    masks[domain == 1, 0, 0] = 1
    offline = offline_specs((3, 13, 17), (5, 7, 19), 2, r_sum=True)

    def images(ctx: Context) -> Artifact:
        names = {"labels": domain.astype("int16"), "class_names": ["clean", "defect"]}
        origins = {"source": np.arange(11, dtype="int32"), "source_names": [f"{row}.png" for row in range(11)]}
        return ImageSet.write(ctx, np.zeros((11, 3, 13, 17), "uint8"), masks=masks, domain=domain, **names, **origins)

    def fields(ctx: Context) -> Artifact:
        names = {"units": ["nm"] * 3, "channel_names": ["x", "y", "z"]}
        return Fields.write(ctx, np.zeros((11, 3, 13, 17), "float32"), **names)

    def model(ctx: Context) -> Artifact:
        return Model.write(ctx, {"blocks.0.weight": torch.zeros(2, 3), "blocks.0.bias": torch.zeros(2)}, {"width": 2})

    def data(ctx: Context) -> Artifact:
        writer = OfflineData.writer(ctx, count=11, block=11, arrays=offline)
        writer.append({name: np.zeros((11, *spec.shape), spec.dtype) for name, spec in offline.items()})
        return OfflineData.finish(ctx, writer, {})

    def report(ctx: Context) -> Artifact:
        return Report.write(ctx, {"iou": 1.0}, pictures={"samples": np.zeros((13, 17, 3), "uint8")})

    found: dict[str, dict[str, tuple[str, str]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        store = LocalStore(folder)
        for index, write in enumerate((images, fields, model, data, report)):
            key = f"{index:040x}"
            context = Context(staging=store.stage(key), seed=0, workdir=store.work(key))
            artifact = write(context)
            found[artifact.kind] = {name: lettered(artifact, name) for name in artifact._reader.names()}
    missing = {kind.kind for kind in BUILTIN_KINDS} - found.keys()
    if missing:
        raise KeyError(f"no example of {sorted(missing)} in docs/generators/contract.py")
    found["Model"] = {"blocks.0.weight, … (one a tensor)": ("the tensor's; bfloat16 as uint16", "the tensor's")}
    return found


def lettered(artifact: Artifact, name: str) -> tuple[str, str]:
    """dtype and shape of an array, lengths replaced by letters."""
    array = artifact.array(name)
    return str(array.dtype), "[" + ", ".join(SIZES[length] for length in array.shape) + "]"
