"""From a folder of images and a trained segmenter to a folder of findings: a pipeline of two steps, and an export."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.errors import UserError
from fabloom.progress import Emit, silent

if TYPE_CHECKING:
    from fabloom.flows.export.klarf import Sheet
    from fabloom.flows.run.result import RunResult
    from fabloom.registry import Registry

FINDING = ("segment", "detect")
"""A task of one of these names finds defects with a model of its method."""


def predict_folder(
    model: str,
    images: str | Path,
    out: str | Path,
    *,
    load: Mapping[str, Any] | None = None,
    segment: Mapping[str, Any] | None = None,
    table: str = "csv",
    klarf: Sheet | None = None,
    store: str | Path | None = None,
    device: str = "auto",
    registry: Registry | None = None,
    emit: Emit = silent,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[RunResult, Mapping[str, int]]:
    """Segment the images with the model and write `predictions` to `out`: the run, and what was found.

    The model is a key or ref of the store, a step of the newest run that made one, or RUN:STEP. `load` and `segment` are parameters of
    images.load and of the task (one of `FINDING`) of the method that made the model, `table` is csv or parquet, `klarf` the head of a
    KLARF that is to be written too. Images are read as those that the model learned from (see `as_trained`), and get the channels that it
    takes: colour is made grey (luma) for one of grey images.
    Nothing is found where a step failed; the run says why. Raises UserError for a model that is none, images that are not there and a
    folder `out` that is not free, EnvironmentProblem for one that cannot be written, before anything runs.
    """
    from fabloom.flows.export.job import export_artifact, free
    from fabloom.flows.export.predictions import counted
    from fabloom.flows.export.tables import check
    from fabloom.flows.run import api
    from fabloom.flows.run.as_trained import as_trained
    from fabloom.flows.run.naming import resolved
    from fabloom.registry import Registry

    check(table)
    registry = registry or Registry.load()
    looked = api.open_store(store, registry, read_only=True)  # a misspelt --store makes none
    key = resolved(looked, model)
    if not key.startswith(model.removeprefix("key:")):
        emit({"event": "log", "message": f"'{model}' is model {key[:12]}"})
    artifact: Any = looked.get(key)
    if artifact.kind != "Model":
        raise UserError(f"'{model}' is of kind {artifact.kind}; {give(registry)}")
    task = next((name for which in FINDING if (name := f"{artifact.config.get('role')}.{which}") in registry.tasks), None)
    if task is None:
        raise UserError(f"'{model}' is a model of another method; {give(registry)}")
    if not Path(images).exists():
        raise UserError(f"'{images}' does not exist. Give a folder of images, or one image file.")
    target = free(Path(out).absolute())
    colour = "grey" if artifact.config["image"][0] == 1 else "keep"
    given = dict(load or {})
    read = {"colour": colour, **as_trained(looked, key, given, emit), **given, "path": str(Path(images).absolute())}
    steps = {
        "images": {"task": "images.load", "params": read},
        "found": {"task": task, "inputs": {"images": "images", "model": f"key:{key}"}, "params": dict(segment or {})},
    }
    pipeline = {"name": "predict", "description": "masks of new images by a trained segmenter", "steps": steps}
    opened = api.open_store(store, registry)
    result = api.run(pipeline, store=opened, device=device, registry=registry, emit=emit, stop=stop, check=False)
    if result.exit_code:
        return result, {}
    export_artifact(
        opened, result.steps[-1].key, target, "predictions", registry=registry, emit=emit, options={"table": table, "klarf": klarf}
    )
    return result, counted(target)


def give(registry: Registry) -> str:
    """Which models can be given."""
    segmenting = {spec.method.name for spec in registry.tasks.values() if spec.name in FINDING}
    makers = (name for name, spec in sorted(registry.tasks.items()) if spec.method.name in segmenting and spec.output.kind == "Model")
    return f"give a Model that {' or '.join(makers)} made, see `fabloom artifacts --kind Model`"
