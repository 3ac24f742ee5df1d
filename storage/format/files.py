"""Files kept open for reading: as many as the process may, shared by all its arrays.

A set of 100,000 small images lies in a hundred shards. Whoever reads it in random order uses all of them all the time, so what is
closed too early costs a check, an open and a stat for each row.
"""

from __future__ import annotations

import contextlib
import os
import resource
import threading
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakSet

from fabloom.errors import DamagedArtifact

MOST_FILES = 4096
"""Descriptors that all arrays of a process keep open together; a quarter of the process's own limit where that is less."""


class OpenFile:
    """A descriptor that closes when nobody uses it any more, also if another thread drops it from the cache meanwhile.

    `mark` is what was committed with the file, "" where nothing was.
    """

    def __init__(self, path: Path, mark: str = "") -> None:
        self.fd, self.mark = -1, mark
        try:
            self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise DamagedArtifact(f"'{path}' is missing. Run `fabloom verify`.") from error
        self.path = path
        self.size = os.fstat(self.fd).st_size

    def __del__(self, close: Callable[[int], None] = os.close) -> None:  # at the interpreter's end `os` may be gone first
        if self.fd >= 0:
            close(self.fd)

    def fill(self, targets: list[Any], offset: int) -> bool:
        """Read into the buffers from `offset`; False if the file ends before they are full."""
        return os.preadv(self.fd, targets, offset) == sum(len(target) for target in targets)


class OpenFiles:
    """The open files of one array by number. Where the process has too many, the array that has most closes its least recently used.

    Each process opens its own. Safe to use from several threads: a file that is dropped stays open for who holds it.
    """

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._files: OrderedDict[int, OpenFile] = OrderedDict()

    def __len__(self) -> int:
        return len(self._files)

    def get(self, number: int, opened: Callable[[], OpenFile]) -> OpenFile:
        """File `number`, from `opened()` where it is not open."""
        if self._pid != os.getpid():
            self._files, self._pid = OrderedDict(), os.getpid()
        found = self._files.get(number)
        if found is None:
            found = opened()
            _make_room(self)
            self._files[number] = found
        else:
            with contextlib.suppress(KeyError):  # dropped meanwhile, for another thread
                self._files.move_to_end(number)
        return found

    def drop(self) -> None:
        """Close the file that was used least recently."""
        with contextlib.suppress(KeyError):
            self._files.popitem(last=False)


def most_files() -> int:
    """Descriptors to keep open at most: the rest of its limit is for what else the process does."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return MOST_FILES if soft == resource.RLIM_INFINITY else max(4, min(MOST_FILES, soft // 4))


_everyone: WeakSet[OpenFiles] = WeakSet()
_guard = threading.Lock()


def _make_room(files: OpenFiles) -> None:
    with _guard:
        _everyone.add(files)
        if sum(map(len, _everyone)) >= most_files():
            max(_everyone, key=len).drop()


def _fresh_guard() -> None:
    global _guard  # noqa: PLW0603  another thread may have held it when the process forked
    _guard = threading.Lock()


os.register_at_fork(after_in_child=_fresh_guard)
