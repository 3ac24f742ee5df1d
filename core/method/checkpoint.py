"""Checkpoints of a loop: one file each, whose name holds the hash of what is in it.

A name and its content appear together, by a rename, so a file that does not hash to its name was damaged after it was written:
it is never loaded. The folder is on the disk before an older checkpoint goes.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import IO, Any

from fabloom.durable import replacing, sync_folders

KEPT = 2
"""Checkpoints kept for each loop: the newest, and the one before it in case the newest is damaged."""
NAME = re.compile(r"ckpt-(?P<loop>\w+)-(?P<step>\d{9,})-(?P<digest>[0-9a-f]{40})\.pt")


class Damaged(ValueError):
    """A checkpoint that is not what was written."""


class _Hashing:
    """A file that is written through a hash, and remembers the error of the system that torch covers with one of its own."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self.hash = file, hashlib.blake2b(digest_size=20)
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            self.error = self.error or error
            raise
        self.hash.update(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()


def save(folder: Path, loop: str, step: int, content: dict[str, Any]) -> Path:
    """Write a checkpoint and remove what is older than the `KEPT` newest. Raises OSError, with nothing left, where the disk fails."""
    import torch

    for torn in folder.glob(f".ckpt-{loop}.*.tmp"):  # of a run that was killed as it wrote; the caller holds the key
        torn.unlink(missing_ok=True)
    with replacing(folder / f"ckpt-{loop}") as (file, temporary):
        through = _Hashing(file)
        try:
            torch.save(content, through)  # type: ignore[arg-type]  # it wants write and flush
        except Exception:
            if through.error is not None:
                raise through.error from None
            raise
        os.fsync(file.fileno())
        path = folder / f"ckpt-{loop}-{step:09d}-{through.hash.hexdigest()}.pt"
        temporary.replace(path)
    sync_folders([folder])
    for old in saved(folder, loop)[:-KEPT]:
        old.unlink(missing_ok=True)
    return path


def saved(folder: Path, loop: str) -> list[Path]:
    """The checkpoints of a loop, the newest last."""
    found = [
        (int(match["step"]), path) for path in folder.glob("ckpt-*.pt") if (match := NAME.fullmatch(path.name)) and match["loop"] == loop
    ]
    return [path for _, path in sorted(found)]


def read(path: Path) -> dict[str, Any]:
    """What was saved, on the CPU. Raises `Damaged` where the content does not hash to the name, before anything interprets it."""
    import torch

    wanted = NAME.fullmatch(path.name)
    with path.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).hexdigest()
        if wanted is None or found != wanted["digest"]:
            raise Damaged(f"it hashes to {found[:12]}, not to what its name says")
        file.seek(0)
        content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    return content
