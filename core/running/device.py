"""Which device a step runs on, and the lease that keeps two steps off one accelerator.

A lease is a lock (`fabloom.locks`) of the process that runs the step: the kernel gives it back at death, and a fork of the step has none.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fabloom.errors import EnvironmentProblem, Interrupted, UserError
from fabloom.locks import PAUSE, holder, release, try_lock
from fabloom.progress import Emit

NAMES = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
COUNT_CUDA = "import torch,sys; sys.stdout.write(str(torch.cuda.device_count()))"


def check_device(name: str, *, present: bool = True) -> None:
    """Raise UserError for a name that is no device, EnvironmentProblem for one that is not there, before anything expensive runs.

    It need not be `present` where everything is reused: nothing is computed then. A CUDA device is counted in a short process of its
    own: a process that touched CUDA cannot fork steps.
    """
    if not NAMES.fullmatch(name):
        raise UserError(f"device '{name}' is not known. Use auto, cpu, cuda, cuda:N or mps.")
    if not present:
        return
    if name.startswith("cuda"):
        answer = subprocess.run([sys.executable, "-P", "-c", COUNT_CUDA], capture_output=True, text=True, check=False)
        count = int(answer.stdout) if answer.stdout.isdigit() else 0
        index = int(name.partition(":")[2] or 0)
        if index >= count:
            raise EnvironmentProblem(
                f"device '{name}' is not there: torch sees {count} CUDA devices. Use --device cpu or auto, or mend the driver."
            )
    if name == "mps":
        import torch

        if not torch.backends.mps.is_available():
            raise EnvironmentProblem("device 'mps' is not there. Use --device cpu or auto.")


def resolve(name: str) -> str:
    """What `auto` stands for on this machine; other names as they are. Imports torch."""
    import torch

    if name != "auto":
        return name
    return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"


def _lease_file(device: str) -> Path:
    """In a folder of this user's own: where temporary files lie, anybody may have put something of that name."""
    folder = Path(tempfile.gettempdir()) / f"fabloom-devices-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise EnvironmentProblem(f"'{folder}', where devices are leased, is not this user's folder. Remove it, or set TMPDIR.")
    return folder / f"{device.replace(':', '-')}.lock"


@contextmanager
def lease(name: str, emit: Emit, stop: Callable[[], bool] = lambda: False) -> Iterator[str]:
    """Hold one device and yield its torch name. `auto` and `cuda` take the first CUDA device that is free; the CPU is never leased.

    Raises Interrupted where `stop()` ended the wait, EnvironmentProblem where something else is in the lock's place.
    """
    import torch

    name = resolve(name)
    if name == "cpu":
        yield name
        return
    candidates = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if name == "cuda" else [name]
    path, handle, device = _free({_lease_file(one): one for one in candidates}, emit, stop)
    try:
        yield device
    finally:
        release(path, handle)


def _free(candidates: Mapping[Path, str], emit: Emit, stop: Callable[[], bool]) -> tuple[Path, int, str]:
    """The first device that can be had: its lock, the descriptor of that, its name. A wait says for whom, and again for another."""
    devices, told, tried = " or ".join(candidates.values()), "", False
    while True:
        for path, device in candidates.items():
            if (handle := try_lock(path)) is not None:
                return path, handle, device
        if stop():
            raise Interrupted(f"stopped while waiting for {devices}. Run the same command again to go on.")
        holders = [pid for pid in map(holder, candidates) if pid]
        who = f"a step in process {' and '.join(holders)}" if holders else "another step, not to be seen from here,"
        line = f"waiting for {devices}: {who} holds it"
        if line != told and (holders or tried):  # in its first moment a holder has not said yet who it is
            told = line
            emit({"event": "log", "message": line})
        tried = True
        time.sleep(PAUSE)
