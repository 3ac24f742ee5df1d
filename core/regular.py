"""Where a regular file is expected, something else may stand: a FIFO would keep its reader waiting for ever, a device never ends."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from io import BufferedReader
from pathlib import Path

STRANGE = {errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP, errno.ENXIO, errno.ENODEV}
"""errno of a path where something else stands than is expected: a folder for a file, a file for a folder, a link to itself, a socket."""


def is_plain(path: Path) -> bool:
    """Whether a regular file itself is there, not a link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError as error:
        if error.errno in {errno.ENOENT, *STRANGE}:
            return False
        raise


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading, also through a link. Raises OSError at once for whatever else is there: EISDIR for a folder, else ENODEV."""
    _check(path, path.stat())  # opening alone can wind a tape
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        _check(path, os.fstat(handle))
    except OSError:
        os.close(handle)
        raise
    return os.fdopen(handle, "rb")


def read_regular(path: Path, most: int = -1) -> bytes:
    """The content of a regular file, or its first `most` bytes. Raises as `open_regular`."""
    with open_regular(path) as file:
        return file.read(most)


def clear(path: Path) -> None:
    """Remove whatever is there: a file, a folder with all in it, a link but not what it leads to. Raises OSError."""
    try:
        if stat.S_ISDIR(path.lstat().st_mode):
            shutil.rmtree(path)
        else:
            path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return


def _check(path: Path, state: os.stat_result) -> None:
    if stat.S_ISDIR(state.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(state.st_mode):
        raise OSError(errno.ENODEV, "no regular file", str(path))
