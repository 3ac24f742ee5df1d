"""Files that are there whole or not at all, and survive a power cut once they are: written beside, synced, renamed, the folder synced."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: Path) -> Iterator[tuple[IO[bytes], Path]]:
    """An unbuffered file beside `path`, and its own path: the block writes, syncs and renames it. It is removed where it was not renamed.

    Its name is nobody else's, also where two machines or containers with equal process ids write into one folder. While its writer lives
    it is locked, so that whoever takes away what killed writers left can tell.
    """
    while True:
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
        try:
            with temporary.open("xb", buffering=0) as file:
                if not _claimed(file):
                    continue
                yield file, temporary
                return
        finally:
            temporary.unlink(missing_ok=True)


def _claimed(file: IO[bytes]) -> bool:
    """Lock a file that was just made; False where somebody took it for one that was left, before it was locked."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks; what needs them says so
    return os.fstat(file.fileno()).st_nlink > 0


def write_durably(path: Path, data: bytes) -> None:
    """Replace `path` with `data` in one atomic step. Raises OSError, with nothing left behind, where that cannot be done."""
    _replace(path, data, sync=True)
    sync_folders([path.parent])


def write_whole(path: Path, data: bytes) -> None:
    """The same for what may be lost in a power cut and then says so itself: nothing is synced, which costs milliseconds."""
    _replace(path, data, sync=False)


def _replace(path: Path, data: bytes, *, sync: bool) -> None:
    with replacing(path) as (file, temporary):
        rest = memoryview(data)
        while rest:
            rest = rest[file.write(rest) :]
        if sync:
            os.fsync(file.fileno())
        temporary.replace(path)


def sync_folders(folders: Iterable[Path]) -> None:
    """fsync directories, so that the names in them survive a power cut."""
    for folder in folders:
        handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
