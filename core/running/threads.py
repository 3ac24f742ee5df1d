"""How many threads a step computes with: one for each core that nobody else keeps busy when it begins.

OpenMP's threads spin while they wait for one another. On free cores that is what makes a second thread worth having; beside a busy
neighbour it burns the core on which a preempted sibling waits, and two threads are slower than one, however they wait
(benchmarks/neighbour.py).
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from fabloom.errors import EnvironmentProblem
from fabloom.notes import read_note, write_note
from fabloom.progress import Emit

THREADS = "threads.json"
"""In a step's work folder: the number of threads that it began with."""
STAT = Path("/proc/stat")
LOOKS, WINDOW = 10, 0.1
"""At most so many looks of so many seconds: what is busy in all of them is no passing start-up."""
MOSTLY = 0.75
"""A core of which so much is idle is free."""
IDLE = slice(3, 5)
"""The fields `idle` and `iowait` of a core's line in /proc/stat."""


@dataclass(frozen=True)
class Look:
    """What the kernel counts: processes that run or wait for a core, this one included, and (idle, all) ticks of each core."""

    running: int
    ticks: dict[int, tuple[int, int]]


def threads() -> int:
    """Threads a step computes with at most: `FABLOOM_THREADS`, else the cores this process may use."""
    return asked() or len(cores())


def asked() -> int | None:
    """`FABLOOM_THREADS`; None where it is not set. Raises EnvironmentProblem for what is no whole number from 1."""
    text = os.environ.get("FABLOOM_THREADS")
    if text is None:
        return None
    if not text.isdigit() or int(text) < 1:
        raise EnvironmentProblem(f"FABLOOM_THREADS is '{text}'; give a whole number from 1")
    return int(text)


def cores() -> set[int]:
    """The cores that this process may use."""
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))


def free_cores() -> int:
    """Those of this process's cores that nobody else keeps busy, from 1; all of them where the kernel does not tell.

    Returns at once on a quiet machine, within a second on a busy one.
    """
    own, free = cores(), 1
    if len(own) == 1 or not STAT.is_file():
        return len(own)
    before = look(STAT.read_text())
    for _ in range(LOOKS):
        if before.running <= 1:
            return len(own)
        time.sleep(WINDOW)
        after = look(STAT.read_text())
        free = max(free, idle_cores(before, after, own))
        if free == len(own):
            break
        before = after
    return free


def look(text: str) -> Look:
    """Read the text of /proc/stat."""
    rows = [line.split() for line in text.splitlines()]
    ticks = {int(row[0][3:]): [int(value) for value in row[1:9]] for row in rows if row and row[0][:3] == "cpu" and row[0] != "cpu"}
    running = next((int(row[1]) for row in rows if row and row[0] == "procs_running"), len(ticks))
    return Look(running, {core: (sum(spent[IDLE]), sum(spent)) for core, spent in ticks.items()})


def idle_cores(before: Look, after: Look, own: set[int]) -> int:
    """How many of the cores `own` stood idle between two looks, in sum: two halves are one core."""
    idle = 0.0
    for core in own & before.ticks.keys() & after.ticks.keys():
        rest, passed = (late - early for early, late in zip(before.ticks[core], after.ticks[core], strict=True))
        idle += rest / passed if passed > 0 else 1.0
    return int(idle + 1 - MOSTLY)


def threads_of(work: Path, emit: Emit, share: int = 1) -> int:
    """Threads of the step of this work folder: those it began with, since sums come out differently over another number of them.

    `share` is among how many parts of one step the cores are divided.
    """
    note = read_note(work / THREADS)
    begun = note.get("threads") if note is not None else None
    if isinstance(begun, int) and begun >= 1:
        if begun != threads():
            emit({"event": "log", "message": f"going on with {begun} threads, as this step began, not {threads()}"})
        return begun
    count = asked() or min(free_cores(), max(1, threads() // share))
    if share == 1 and count < threads():
        few = f"{count} thread{'s' * (count > 1)} for this step"
        emit({"event": "log", "message": f"other work keeps {threads() - count} of {threads()} cores busy: {few}"})
    write_note(work / THREADS, {"threads": count})
    return count
