"""Writing an artifact in one of its formats, whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fabloom.errors import EnvironmentProblem, FabloomError, PluginError, UserError, did_you_mean
from fabloom.kinds import Artifact
from fabloom.method.blame import located
from fabloom.progress import Emit, Progress, silent
from fabloom.registry import Registry

from .formats import FORMATS, Format, Write

NO_PLACE = {
    errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.EILSEQ,
}  # fmt: skip
"""errno of a path that is none, or leads over something that is no folder."""


@dataclass(frozen=True)
class Export:
    """What a writer is given: the artifact, its manifest, the store that has it, what is installed, and how to tell of progress."""

    artifact: Any
    manifest: Mapping[str, Any]
    registry: Registry
    emit: Emit
    options: Mapping[str, Any] = field(default_factory=dict)
    store: Any = None

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
    store: Any,
    key: str,
    folder: str | Path,
    format: str | None = None,
    *,
    registry: Registry | None = None,
    emit: Emit = silent,
    options: Mapping[str, Any] | None = None,
) -> list[str]:
    """Write the artifact `key` of a store to a new or empty `folder` and return the names of the files.

    `format` is one of the kind's formats, by default its first; `options` are what its writer takes beside the artifact. Raises
    UserError for a format that the kind does not have and a folder that is not free, before anything is written; whatever else goes
    wrong leaves no folder behind.
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
    folder = free(Path(folder).absolute())
    with _sound(artifact, chosen):
        write = formats[chosen](Export(artifact, manifest, registry or Registry.load(), emit, options or {}, store))
    with beside(folder) as partial:
        with _sound(artifact, chosen):
            write(partial)
        about = {"kind": artifact.kind, "key": key, "digest": artifact.digest, "task": manifest["preimage"]["task"], "format": chosen}
        (partial / "artifact.json").write_text(json.dumps({**about, "attrs": dict(artifact.attrs)}, indent=2))
        with _possible(folder):
            partial.rename(folder)
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def free(folder: Path) -> Path:
    """The folder, which is new or empty and can be made.

    Raises UserError where something is there or no folder can be, EnvironmentProblem where it may not be written.
    """
    with _possible(folder):
        if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
            raise UserError(f"'{folder}' exists and is no empty folder; give a new one")
        above = next(place for place in (folder, *folder.parents) if place.exists())
    if not above.is_dir():
        raise UserError(f"nothing can be written to '{folder}': '{above}' is a file. Give another folder.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise EnvironmentProblem(f"'{folder}' cannot be made: '{above}' may not be written. Mend its permissions or give another folder.")
    return folder


@contextmanager
def beside(folder: Path) -> Iterator[Path]:
    """A new folder on the file system of `folder`, to be renamed to it; where it was not, nothing stays, nor do folders made for it."""
    partial = folder.with_name(f".{secrets.token_hex(8)}.partial")  # short: the name itself may be as long as names can be
    made: list[Path] = []
    try:
        with _possible(folder):
            made = [above for above in folder.parents if not above.exists()]
            folder.exists()  # raises for a name that is too long, before anything is made
            for above in reversed(made):
                above.mkdir()
            partial.mkdir()
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        for above in made:
            with contextlib.suppress(OSError):
                above.rmdir()
        raise


@contextmanager
def _possible(folder: Path) -> Iterator[None]:
    """A place where no folder can be is the user's to mend; a full disk or a closed door is not."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_PLACE:
            raise
        raise UserError(f"nothing can be written to '{folder}': {error.strerror}. Give another folder.") from error


@contextmanager
def _sound(artifact: Artifact, format: str) -> Iterator[None]:
    """What a writer raises by mistake, over an artifact that is not as its kind writes it perhaps, is told as such."""
    try:
        yield
    except (FabloomError, OSError, MemoryError):
        raise
    except Exception as error:
        what = f"{artifact.kind} {artifact.key[:12]} cannot be written as {format}: {located(error, type(artifact))}"
        raise FabloomError(f"{what}. `fabloom verify {artifact.key[:12]}` says whether it is damaged; take another --format.") from error
