"""Locks of keys and devices: kernel `flock`s, so that a killed holder never blocks anyone."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fabloom.errors import EnvironmentProblem

PAUSE = 0.05
HERE: dict[int, Path] = {}
"""Descriptors of the locks that this process holds or tries."""

_door = threading.Lock()
"""Held while a descriptor comes or goes, so that no fork of another thread has one that is not in `HERE`."""


def _let_go() -> None:
    """In a fork: a flock belongs to every process that has the descriptor, and a task's child must not hold a key that its step lost."""
    for handle in HERE:
        os.close(handle)
    HERE.clear()
    _door.release()


os.register_at_fork(before=_door.acquire, after_in_parent=_door.release, after_in_child=_let_go)


def _open(path: Path, flags: int) -> int:
    with _door:
        handle = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, 0o644)
        HERE[handle] = path
    return handle


def _close(handle: int) -> None:
    with _door:
        HERE.pop(handle, None)
        os.close(handle)


def try_lock(path: Path) -> int | None:
    """Take the lock and return its descriptor, or None while somebody else holds it.

    The file may be removed by `gc` between open and flock; the inode comparison sees that, and the lock is taken anew.
    """
    while True:
        if is_odd(path):
            raise EnvironmentProblem(
                f"the lock '{path}' is a link or no file, which fabloom never makes. Remove it; in a store `fabloom gc` does."
            )
        handle = _open(path, os.O_RDWR | os.O_CREAT)
        taken = False
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(handle, path):
                os.ftruncate(handle, 0)
                os.pwrite(handle, str(os.getpid()).encode(), 0)
                taken = True
                return handle
        except BlockingIOError:
            return None
        finally:
            if not taken:
                _close(handle)


def _is_at(handle: int, path: Path) -> bool:
    try:
        return os.fstat(handle).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


@contextmanager
def locked(path: Path, waiting: Callable[[str], None], stop: Callable[[], bool]) -> Iterator[bool]:
    """Hold the lock at `path`. Yields False if `stop()` ended the wait.

    `waiting(pid)` is called if it must wait, and again when another process has taken the lock meanwhile: with the number of a living
    process, or with nothing where the holder cannot be seen from here (another machine, another container).
    """
    handle = try_lock(path)
    told = ""
    while handle is None and not stop():
        written = _written(path)
        if written not in ("", told):
            told = written
            waiting(holder(path))
        time.sleep(PAUSE)
        handle = try_lock(path)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            release(path, handle)


def release(path: Path, handle: int) -> None:
    """Remove the lock file while it is still held, so that only a killed holder leaves one behind, and let go."""
    if HERE.get(handle) == path:  # in a fork it is the parent's, and the number may be another file's
        path.unlink(missing_ok=True)
        _close(handle)


def is_held(path: Path) -> bool:
    """True while a living process holds the lock, or may: of another user's nobody can tell. Creates nothing."""
    if is_odd(path):
        return False
    try:
        handle = _open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    except PermissionError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        _close(handle)
    return False


def is_odd(path: Path) -> bool:
    """Whether something is there that is no lock file: a link, which would be followed, a FIFO, a folder."""
    try:
        return not stat.S_ISREG(path.lstat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def _written(path: Path) -> str:
    """The number that the last holder wrote; nothing in the moment before it does."""
    try:
        return path.read_text().partition("\n")[0]
    except (OSError, ValueError):
        return ""


def holder(path: Path) -> str:
    """The number of the living process that holds the lock; nothing where it cannot be seen from here."""
    written = _written(path)
    return written if _holds(written, path) else ""


def _holds(pid: str, path: Path) -> bool:
    """Whether a living process of that number has the lock open: what is written may be of one that died, or of another machine."""
    if not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
        files = list(Path(f"/proc/{pid}/fd").iterdir())
    except (ProcessLookupError, PermissionError, OverflowError):
        return False
    except FileNotFoundError:
        return True  # a system that does not list them
    return any(_is_same(file, path) for file in files)


def _is_same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:
        return False
