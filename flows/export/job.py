"""Writing an artifact in one of its formats, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fabloom.errors import FabloomError, PluginError, UserError, did_you_mean
from fabloom.kinds import Artifact
from fabloom.progress import Emit, Progress, silent
from fabloom.registry import Registry

from .formats import FORMATS, Format, Write


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


def formats_of(artifact: Artifact) -> dict[str, Format]:
    """Formats that an artifact can be written in, the default first: what its kind declares, then those known of it and its bases."""
    own = {name: _declared(artifact, name, write) for name, write in artifact.exports().items()}
    known = (FORMATS.get(base.__name__, {}) for base in type(artifact).__mro__)
    return own | {name: made for formats in known for name, made in formats.items() if name not in own}


def _declared(artifact: Artifact, name: str, write: Write) -> Format:
    """A format that a kind declares; what its writer raises by mistake is told as the plugin's."""

    def guarded(folder: Path) -> None:
        try:
            write(folder)
        except (FabloomError, OSError):
            raise
        except Exception as error:
            what = f"{type(artifact).__module__.partition('.')[0]}: kind '{artifact.kind}' cannot write {artifact.key[:12]} as {name}"
            raise PluginError(f"{what} ({type(error).__name__}: {error}). Take another --format, or tell its author.") from error

    return lambda job: guarded


def export_artifact(
    store: Any, key: str, folder: str | Path, format: str | None = None, *, registry: Registry | None = None, emit: Emit = silent
) -> list[str]:
    """Write the artifact `key` of a store to a new or empty `folder` and return the names of the files.

    `format` is one of the kind's formats, by default its first. Raises UserError for a format that the kind does not have and a
    folder that is not free, before anything is written; whatever else goes wrong leaves no folder behind.
    """
    manifest, artifact = store.manifest(key), store.get(key)
    formats = formats_of(artifact)
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
