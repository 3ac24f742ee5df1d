"""The formats that fabloom itself knows, by the name of a kind. A kind of a third party declares its own with `Artifact.exports`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.errors import DamagedArtifact, UserError
from fabloom.hashing import blake_file

from . import images, models, predictions, segmenter, trajectories

if TYPE_CHECKING:
    from fabloom.kinds import Report

    from .job import Export

Write = Callable[[Path], None]
Format = Callable[["Export"], Write]
"""Looks at the artifact, raises before anything is written where it does not fit, and gives what writes into a folder."""


def report(job: Export) -> Write:
    """`metrics.json` and the pictures as PNG."""
    given: Report = job.artifact

    def write(folder: Path) -> None:
        (folder / "metrics.json").write_text(json.dumps(given.metrics, indent=2))
        for index, (title, pixels) in enumerate(given.pictures.items()):
            plain = "".join(c if c.isalnum() else "-" for c in title.lower())[:60]
            images.picture(pixels.transpose(2, 0, 1)).save(folder / f"{index:02d}-{plain}.png")

    return write


def zarr(job: Export) -> Write:
    """`data.zarr`: a copy of the zarr group, every file held against its hash in the manifest on the way."""
    stored: Callable[[str], Iterable[bytes]] | None = getattr(job.artifact._reader, "raw", None)
    if stored is None:
        raise UserError(f"artifact {job.manifest['key'][:12]} is not kept as zarr by this store; there is no zarr group to copy")

    def write(folder: Path) -> None:
        files: Mapping[str, Any] = job.manifest["files"]
        with job.progress(len(files), "file") as bar:
            for name, (size, digest) in files.items():
                target = folder / "data.zarr" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as file:
                    for piece in stored(name):
                        if file.tell() > size:
                            break  # what is longer than it was committed may have no end
                        file.write(piece)
                if blake_file(target) != digest:
                    raise DamagedArtifact(f"artifact {job.manifest['key'][:12]}: '{name}' is not what was committed. Run `fabloom verify`.")
                bar.advance()

    return write


FORMATS: Mapping[str, Mapping[str, Format]] = {
    "ImageSet": {"png": images.png, "coco": images.coco, "imagefolder": images.imagefolder, "predictions": predictions.predictions},
    "Model": {
        "safetensors": models.safetensors, "diffusers": models.diffusers, "onnx": models.onnx, "torch-export": models.torch_export,
        "segmenter": segmenter.segmenter,
    },
    "Report": {"json": report},
    "OfflineData": {"zarr": zarr, "published": trajectories.published},
    "Artifact": {"zarr": zarr},
}  # fmt: skip
"""By kind, for it and those derived from it; the first is the default."""
