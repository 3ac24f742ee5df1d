"""`fabloom export`: an artifact as files that other software opens."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import typer

from fabloom.progress import silent

from .output import emit_json, quiet_stdout, say
from .shared import JsonOption, StoreOption, WhatArgument, resolved

commands = typer.Typer()


@commands.command()
def export(
    what: WhatArgument,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A folder that does not exist yet, or an empty one.")],
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="ImageSet: png (default), coco, imagefolder, predictions. Model: safetensors (default), diffusers, onnx, torch-export, "
            "segmenter. OfflineData: zarr (default), published. "
            "Report: json (default). Every kind: zarr, a copy of what the store holds. A plugin's kind may bring its own.",
        ),
    ] = None,
    store: StoreOption = None,
    json_: JsonOption = False,
) -> None:
    """Write an artifact as files that other software opens: all of them, or none where something goes wrong.

    **png**: clean/, defect/ and masks/, the layout that `images.load` reads. **coco**: images/ and annotations.json, an instance for each
    connected defect. **imagefolder**: train/ with metadata.jsonl for Hugging Face datasets. **predictions**: tables, masks and overlays,
    as `fabloom predict` writes. **safetensors**: tensors and config. **diffusers**: loads with from_pretrained. **onnx**,
    **torch-export**: a graph of each network for any number of images, compared with the model when it is written; networks.json says
    what goes in and comes out. **segmenter**: a trained segmenter in one graph from pixels to a mask, with a card and a script.
    **published**: recorded trajectories as the code of denoising circuits keeps them, one file a sample.
    docs/interoperability.md shows how to load each.
    """
    from fabloom.flows.export.job import export_artifact
    from fabloom.flows.run import api
    from fabloom.registry import Registry

    registry = Registry.load()
    opened = api.open_store(store, registry, read_only=True)
    key = resolved(opened, what)
    display: AbstractContextManager[Any] = quiet_stdout()
    if not json_:
        from .display import LiveDisplay

        display = LiveDisplay()
    with display as live:
        emit = silent if live is None else lambda event: live.emit({**event, "step": f"export {key[:12]}"})
        written = export_artifact(opened, key, folder, format_, registry=registry, emit=emit)
    if json_:
        emit_json({"folder": str(folder), "files": written})
    else:
        say(f"{len(written)} files in {folder}")
