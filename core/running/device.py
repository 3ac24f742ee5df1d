"""Which device a step runs on, and the lease that keeps two steps off one accelerator.

A lease is a kernel `flock` held by the process that runs the step; the kernel gives it back at death, so it cannot leak.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fabloom.errors import EnvironmentProblem, UserError
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
    folder = Path(tempfile.gettempdir()) / f"fabloom-devices-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return folder / f"{device.replace(':', '-')}.lock"


@contextmanager
def lease(name: str, emit: Emit) -> Iterator[str]:
    """Hold one device and yield its torch name. `auto` and `cuda` take the first CUDA device that is free; the CPU is never leased."""
    import torch

    name = resolve(name)
    if name == "cpu":
        yield name
        return
    candidates = [f"cuda:{i}" for i in range(torch.cuda.device_count())] if name == "cuda" else [name]
    told = False
    while True:
        for candidate in candidates:
            handle = os.open(_lease_file(candidate), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(handle)
                continue
            try:
                yield candidate
            finally:
                os.close(handle)
            return
        if not told:
            emit({"event": "log", "message": f"waiting for {' or '.join(candidates)}: another step holds it"})
            told = True
        time.sleep(0.2)
