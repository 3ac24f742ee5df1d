"""The step server's guard: a process that outlives the server for the moment it takes to end what the server's workers left.

The kernel kills a worker when its server dies (`PR_SET_PDEATHSIG`, on Linux), but not what the worker started itself. Whoever is left
has to do that, and when the whole group is killed at once nobody is: so the guard has a process group of its own, is deaf to signals
that ask for a stop, knows the group of every living worker, and ends them when the pipe that the server holds is closed.
"""

from __future__ import annotations

import contextlib
import os
import signal
from typing import NoReturn


class Guard:
    """Make it before there are threads, and where signals are ignored already: it is a fork."""

    def __init__(self) -> None:
        reading, self._writing = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._writing)
            _watch(reading)
        os.close(reading)

    def began(self) -> None:
        """Said by a worker that leads its group, before it does anything else. It holds nothing of the guard afterwards."""
        self._tell(f"{os.getpid()}\n")
        os.close(self._writing)

    def ended(self, group: int) -> None:
        """Said by the server when nobody of the group is left."""
        self._tell(f"-{group}\n")

    def close(self) -> None:
        """End it; it ends what it was not told the end of."""
        os.close(self._writing)
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)

    def _tell(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # somebody killed the guard: the server still ends its workers
            os.write(self._writing, line.encode())


def end(group: int) -> None:
    """Kill every process of the group that there is."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _watch(reading: int) -> NoReturn:
    """The guard: until the end of the pipe."""
    os.setpgid(0, 0)
    null = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):  # the first is the server's control socket, whose end its caller waits for
        os.dup2(null, standard)
    groups: set[int] = set()
    with os.fdopen(reading) as lines:
        for line in lines:
            group = int(line)
            if group > 0:
                groups.add(group)
            else:
                groups.discard(-group)
    for group in groups:
        end(group)
    os._exit(0)
