"""Whether a folder can do what a store needs of it: rename in one step, lock against another process, write down to the disk."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path

TRY = "import fcntl, sys\nf = open(sys.argv[1])\ntry: fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)\nexcept BlockingIOError: sys.exit(9)"


def unfit(folder: Path) -> str:
    """What does not work in the folder; '' where all of it does. Leaves nothing behind. Raises OSError where it cannot be written."""
    with tempfile.TemporaryDirectory(prefix=".probe-", dir=folder) as made:
        first, second = Path(made) / "first", Path(made) / "second"
        first.mkdir()
        file = first / "file"
        with file.open("w") as written:
            written.write("x")
            written.flush()
            os.fsync(written.fileno())
            fcntl.flock(written, fcntl.LOCK_EX)
            if subprocess.run([sys.executable, "-P", "-S", "-c", TRY, str(file)], check=False, capture_output=True).returncode != 9:
                return "a lock (flock) does not keep another process out"
        first.rename(second)
        if first.exists() or (second / "file").read_text() != "x":
            return "a folder cannot be renamed in one step"
        handle = os.open(made, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    return ""
