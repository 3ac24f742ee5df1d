"""Artifacts as ordinary files that anybody can open without fabloom."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from fabloom.artifacts import Artifact, ImageSet, Model, Report


def export_artifact(artifact: Artifact, folder: Path) -> list[str]:
    """Write to `folder` and return the file names: PNGs, safetensors, JSON; other kinds as the plain zarr group."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(artifact, ImageSet):
        _images(artifact, folder)
    elif isinstance(artifact, Model):
        _model(artifact, folder)
    elif isinstance(artifact, Report):
        _report(artifact, folder)
    else:
        shutil.copytree(artifact._reader.folder, folder / "data.zarr")  # type: ignore[attr-defined]
    (folder / "artifact.json").write_text(
        json.dumps({"kind": artifact.kind, "key": artifact.key, "digest": artifact.digest, "attrs": dict(artifact.attrs)}, indent=2)
    )
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _picture(pixels: Any) -> Any:
    """uint8 [C,H,W] as a PIL image; one channel is grey."""
    from PIL import Image

    return Image.fromarray(pixels[0] if len(pixels) == 1 else pixels[:3].transpose(1, 2, 0))


def _images(images: ImageSet, folder: Path) -> None:
    """`clean/` and `defect/` where the domain is known, with `masks/` beside: the layout that `images.load` reads."""
    from PIL import Image

    domain = images.domain[...] if images.domain is not None else None
    masks = images.masks
    for index in range(len(images)):
        room = folder / ("images" if domain is None else ("clean", "defect")[domain[index]])
        room.mkdir(exist_ok=True)
        name = f"{index:06d}.png"
        _picture(images.images[index]).save(room / name)
        if masks is not None and (domain is None or domain[index]):
            (folder / "masks").mkdir(exist_ok=True)
            Image.fromarray(masks[index] * 255).save(folder / "masks" / name)


def _model(model: Model, folder: Path) -> None:
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in model.state().items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(model.config, indent=2))


def _report(report: Report, folder: Path) -> None:
    (folder / "metrics.json").write_text(json.dumps(report.metrics, indent=2))
    for index, (title, pixels) in enumerate(report.pictures.items()):
        plain = "".join(c if c.isalnum() else "-" for c in title.lower())[:60]
        _picture(pixels.transpose(2, 0, 1)).save(folder / f"{index:02d}-{plain}.png")
