"""Two folders change places in one step, so that at no moment one of them is missing."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
from pathlib import Path

from .manifest import NAME

AT_FDCWD = -100
RENAME_EXCHANGE = 2
NOT_HERE = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
"""What a kernel or a file system says that cannot do it."""


def exchange(first: Path, second: Path) -> bool:
    """Swap two paths of one file system; both must exist. False, with nothing done, where it cannot be done in one step.

    Raises OSError for anything else that stops it. renameat2(2) with RENAME_EXCHANGE: Linux 3.15, ext4, xfs, btrfs, tmpfs.
    """
    if sys.platform != "linux":
        return False
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except AttributeError:
        return False
    if renameat2(AT_FDCWD, os.fsencode(first), AT_FDCWD, os.fsencode(second), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in NOT_HERE:
        return False
    raise OSError(code, os.strerror(code), str(second))


def aside(staged: Path) -> Path:
    """Where a committed artifact waits while what is staged takes its place."""
    return staged.with_name(f"aside-{staged.name}")


def recover(staged: Path, target: Path) -> None:
    """Bring back an artifact that stepped aside for one that never came. The caller holds the key."""
    waiting = aside(staged)
    if waiting.is_dir():
        if (waiting / NAME).is_file() and not target.exists():
            waiting.rename(target)
        else:
            shutil.rmtree(waiting, ignore_errors=True)
