"""Checkpoints of a loop: one file each, whose name holds the hash of what is in it.

A name and its content appear together, by a rename, so a file that does not hash to its name was damaged after it was written:
it is never loaded. Nor is one that another step or loop wrote, which its content says. The folder is on the disk before another
checkpoint goes.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from pathlib import Path
from typing import IO, Any

from fabloom.durable import replacing, sync_folders
from fabloom.regular import clear, is_plain, open_regular

KEPT = 2
"""Checkpoints kept for each loop: the newest, and the one before it in case the newest is damaged."""
NAME = re.compile(r"ckpt-(?P<loop>\w+)-(?P<step>\d{9,})-(?P<digest>[0-9a-f]{40})\.pt")


ASIDE = "unfit-"
"""Before the name of a sound checkpoint that did not fit: it goes with the commit, and can be brought back until then."""


class Damaged(ValueError):
    """A checkpoint that is not what was written."""


class Unfit(ValueError):
    """A checkpoint that is what was written, but not for this loop or not by this version of a library."""


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
    """Write a checkpoint; remove what is older than the `KEPT` newest, and what lies further on, which nobody could go on from.

    Raises OSError, with nothing left, where the disk fails.
    """
    import torch

    for torn in folder.glob(f".ckpt-{loop}.*.tmp"):  # of a run that was killed as it wrote; the caller holds the key
        clear(torn)
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
        if not is_plain(path):
            clear(path)
        temporary.replace(path)
    sync_folders([folder])
    found = {other: int(name["step"]) for other in saved(folder, loop) if (name := NAME.fullmatch(other.name))}
    kept = [path, *[other for other, at in found.items() if at < step][1 - KEPT :]]
    for other in found.keys() - set(kept):
        clear(other)
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
    if not is_plain(path):
        raise Damaged("it is no file")
    with open_regular(path) as file:
        found = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=20)).hexdigest()
        if wanted is None or found != wanted["digest"]:
            raise Damaged(f"it hashes to {found[:12]}, not to what its name says")
        file.seek(0)
        try:
            content: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # whose advice is to unpickle it all the same
            if isinstance(error, OSError) or is_memory(error):
                raise
            raise Unfit(f"this torch ({torch.__version__}) cannot read it: {str(error).splitlines()[0][:200]}") from error
    return content


def is_memory(error: Exception) -> bool:
    """Whether memory ran out: then the checkpoint is not to blame. torch has no class for that on a CPU."""
    import torch

    return isinstance(error, MemoryError | torch.OutOfMemoryError) or "DefaultCPUAllocator" in str(error)


def set_aside(path: Path) -> None:
    """Take a checkpoint out of those that count, without removing it."""
    path.replace(path.with_name(ASIDE + path.name))


def packed(content: dict[str, Any]) -> bytes:
    """What would be saved, in memory."""
    import torch

    held = io.BytesIO()
    torch.save(content, held)
    return held.getvalue()


def unpacked(data: bytes) -> dict[str, Any]:
    """What was packed, on the CPU."""
    import torch

    content: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    return content
