"""Artifacts as files that other software opens: which formats a kind has, and writing one whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fabloom.errors import DamagedArtifact, UserError, did_you_mean
from fabloom.hashing import blake
from fabloom.kinds import Artifact, ImageSet, Model, Report
from fabloom.progress import Emit, Progress, silent
from fabloom.registry import Registry

from . import images as export_images
from . import models as export_models
from .images import picture


@dataclass(frozen=True)
class Export:
    """What a writer is given: the artifact, its manifest, what is installed, and how to tell of progress."""

    artifact: Any
    manifest: Mapping[str, Any]
    source: Path
    registry: Registry
    emit: Emit

    def progress(self, total: int, unit: str) -> Progress:
        """A counter of what is written."""
        return Progress(self.emit, "export", total, unit)


Write = Callable[[Path], None]
Format = Callable[[Export], Write]
"""Looks at the artifact, raises before anything is written where it does not fit, and gives what writes into a folder."""


def _report(job: Export) -> Write:
    """`metrics.json` and the pictures as PNG."""
    report: Report = job.artifact

    def write(folder: Path) -> None:
        (folder / "metrics.json").write_text(json.dumps(report.metrics, indent=2))
        for index, (title, pixels) in enumerate(report.pictures.items()):
            plain = "".join(c if c.isalnum() else "-" for c in title.lower())[:60]
            picture(pixels.transpose(2, 0, 1)).save(folder / f"{index:02d}-{plain}.png")

    return write


def _zarr(job: Export) -> Write:
    """`data.zarr`: a copy of the zarr group, every file held against its hash in the manifest on the way."""
    if not job.source.is_dir():
        raise UserError(f"artifact {job.manifest['key'][:12]} is not kept in a folder by this store; there is no zarr group to copy")

    def write(folder: Path) -> None:
        files: Mapping[str, Any] = job.manifest["files"]
        with job.progress(len(files), "file") as bar:
            for name, (_, digest) in files.items():
                data = (job.source / name).read_bytes() if (job.source / name).is_file() else b""
                if blake(data) != digest:
                    raise DamagedArtifact(f"artifact {job.manifest['key'][:12]}: '{name}' is not what was committed. Run `fabloom verify`.")
                target = folder / "data.zarr" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
                bar.advance()

    return write


FORMATS: tuple[tuple[type[Artifact], Mapping[str, Format]], ...] = (
    (ImageSet, {"png": export_images.png, "coco": export_images.coco, "imagefolder": export_images.imagefolder}),
    (
        Model,
        {
            "safetensors": export_models.safetensors, "diffusers": export_models.diffusers, "onnx": export_models.onnx,
            "torch-export": export_models.torch_export,
        },
    ),
    (Report, {"json": _report}),
    (Artifact, {"zarr": _zarr}),
)  # fmt: skip
"""Formats of each kind; the first that fits an artifact is its default."""


def formats_of(kind: type[Artifact]) -> dict[str, Format]:
    """Formats that a kind can be written in, the default first."""
    return {name: made for base, formats in FORMATS if issubclass(kind, base) for name, made in formats.items()}


def export_artifact(
    store: Any, key: str, folder: str | Path, format: str | None = None, *, registry: Registry | None = None, emit: Emit = silent
) -> list[str]:
    """Write the artifact `key` of a store to a new or empty `folder` and return the names of the files.

    `format` is one of the kind's formats, by default its first. Raises UserError for a format that the kind does not have and a
    folder that is not free, before anything is written; whatever else goes wrong leaves no folder behind.
    """
    manifest, artifact = store.manifest(key), store.get(key)
    formats = formats_of(type(artifact))
    chosen = format or next(iter(formats))
    if chosen not in formats:
        hint = did_you_mean(chosen, formats)
        raise UserError(
            f"--format: '{chosen}' does not fit {artifact.kind} {key[:12]}, which can be written as {', '.join(formats)}"
            + (f".{hint}" if "Did you mean" in hint else "")
        )
    folder = Path(folder).absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"'{folder}' exists and is no empty folder; give a new one")
    write = formats[chosen](Export(artifact, manifest, store.folder(key) / "data.zarr", registry or Registry.load(), emit))
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        partial.mkdir(parents=True)
        write(partial)
        about = {"kind": artifact.kind, "key": key, "digest": artifact.digest, "task": manifest["preimage"]["task"], "format": chosen}
        (partial / "artifact.json").write_text(json.dumps({**about, "attrs": dict(artifact.attrs)}, indent=2))
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
