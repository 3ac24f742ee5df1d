"""From a folder of images and a trained segmenter to a folder of findings: a pipeline of two steps, and an export."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.errors import EnvironmentProblem, UserError
from fabloom.progress import Emit, silent

if TYPE_CHECKING:
    from fabloom.flows.run.result import RunResult
    from fabloom.registry import Registry

TASK = "unet.segment"


def predict_folder(
    model: str,
    images: str | Path,
    out: str | Path,
    *,
    load: Mapping[str, Any] | None = None,
    segment: Mapping[str, Any] | None = None,
    store: str | Path | None = None,
    device: str = "auto",
    registry: Registry | None = None,
    emit: Emit = silent,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[RunResult, Mapping[str, int]]:
    """Segment the images with the model (a key or ref of the store) and write `predictions` to `out`: the run, and what was found.

    `load` and `segment` are parameters of images.load and unet.segment. Images get the channels that the model takes: colour is made
    grey (luma) for one of grey images. Nothing is found where a step failed; the run says why. Raises UserError for a model that is
    none, images that are not there and a folder `out` that is not free, EnvironmentProblem for one that cannot be written, before
    anything runs.
    """
    from fabloom.flows.export.job import export_artifact
    from fabloom.flows.export.predictions import counted
    from fabloom.flows.run import api
    from fabloom.registry import Registry

    registry = registry or Registry.load()
    opened = api.open_store(store, registry)
    key = opened.resolve(model)
    kind = opened.manifest(key)["kind"]
    if kind != "Model":
        raise UserError(f"'{model}' is of kind {kind}; give a Model that unet.train made, see `fabloom artifacts --kind Model`")
    artifact: Any = opened.get(key)
    if artifact.config.get("role") != "unet":
        raise UserError(f"'{model}' is a model of another method; give one that unet.train made, see `fabloom artifacts --kind Model`")
    if not Path(images).exists():
        raise UserError(f"'{images}' does not exist. Give a folder of images, or one image file.")
    target = free(Path(out).absolute())
    read = {"colour": "grey" if artifact.config["image"][0] == 1 else "keep", **(load or {}), "path": str(Path(images).absolute())}
    steps = {
        "images": {"task": "images.load", "params": read},
        "found": {"task": TASK, "inputs": {"images": "images", "model": f"key:{key}"}, "params": dict(segment or {})},
    }
    pipeline = {"name": "predict", "description": "masks of new images by a trained segmenter", "steps": steps}
    result = api.run(pipeline, store=opened, device=device, registry=registry, emit=emit, stop=stop)
    if result.exit_code:
        return result, {}
    export_artifact(opened, result.steps[-1].key, target, "predictions", registry=registry, emit=emit)
    return result, counted(target)


def free(folder: Path) -> Path:
    """The folder, which is new or empty and can be made. Raises UserError and EnvironmentProblem."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"'{folder}' exists and is no empty folder; give a new one to -o")
    above = next(place for place in (folder, *folder.parents) if place.exists())
    if not above.is_dir():
        raise UserError(f"'{above}' is a file, so '{folder}' cannot be made; give another folder to -o")
    if not os.access(above, os.W_OK | os.X_OK):
        raise EnvironmentProblem(
            f"'{folder}' cannot be made: '{above}' may not be written. Mend its permissions or give another one to -o."
        )
    return folder
