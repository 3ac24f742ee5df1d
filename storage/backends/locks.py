"""Key locks: kernel `flock`s, so that a killed holder never blocks anyone."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PAUSE = 0.05


def try_lock(path: Path) -> int | None:
    """Take the lock and return its descriptor, or None while somebody else holds it.

    The file may be removed by `gc` between open and flock; the inode comparison sees that, and the lock is taken anew.
    """
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return None
        try:
            if os.fstat(handle).st_ino == path.stat().st_ino:
                os.ftruncate(handle, 0)
                os.pwrite(handle, str(os.getpid()).encode(), 0)
                return handle
        except FileNotFoundError:
            pass
        os.close(handle)


@contextmanager
def locked(path: Path, waiting: Callable[[str], None], stop: Callable[[], bool]) -> Iterator[bool]:
    """Hold the lock at `path`; `waiting(pid)` is called once if it must wait. Yields False if `stop()` ended the wait."""
    handle = try_lock(path)
    if handle is None:
        waiting(_holder(path))
    while handle is None and not stop():
        time.sleep(PAUSE)
        handle = try_lock(path)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            release(path, handle)


def release(path: Path, handle: int) -> None:
    """Remove the lock file while it is still held, so that only a killed holder leaves one behind, and let go."""
    path.unlink(missing_ok=True)
    os.close(handle)


def is_held(path: Path) -> bool:
    """True while a living process holds the lock. Creates nothing."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def _holder(path: Path) -> str:
    try:
        return path.read_text() or "?"
    except FileNotFoundError:
        return "?"
