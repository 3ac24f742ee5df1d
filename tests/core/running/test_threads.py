"""A step takes as many threads as cores are free when it begins."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fabloom.errors import EnvironmentProblem
from fabloom.running import threads

QUIET = """cpu  0 0 0 0 0 0 0 0 0 0
cpu0 {busy0} 0 10 {idle0} 5 0 0 0 0 0
cpu1 {busy1} 0 10 {idle1} 5 0 0 0 0 0
intr 12 0 3
procs_running {running}
procs_blocked 0
"""


def told(running: int, idle0: int, idle1: int, passed: int) -> str:
    """What /proc/stat says `passed` ticks after its start, of which the cores were idle so many."""
    return QUIET.format(busy0=passed - idle0, idle0=idle0, busy1=passed - idle1, idle1=idle1, running=running)


class Kernel:
    """Two cores; each text follows the one before when somebody sleeps."""

    def __init__(self, file: Path, texts: Iterator[str]) -> None:
        self.file, self.texts, self.slept = file, texts, 0
        self.tell()

    def tell(self) -> None:
        self.file.write_text(next(self.texts))

    def sleep(self, _seconds: float) -> None:
        self.slept += 1
        self.tell()


@pytest.fixture
def two_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[object]:
    def begin(texts: Iterator[str]) -> Kernel:
        kernel = Kernel(tmp_path / "stat", texts)
        monkeypatch.setattr(threads, "STAT", kernel.file)
        monkeypatch.setattr(threads, "cores", lambda: {0, 1})
        monkeypatch.setattr(threads.time, "sleep", kernel.sleep)
        monkeypatch.delenv("FABLOOM_THREADS", raising=False)
        return kernel

    yield begin


def steady(idle0: float, idle1: float, running: int = 2) -> Iterator[str]:
    """Cores that are idle for the same share of every window of ten ticks."""
    return (told(running, round(10 * n * idle0), round(10 * n * idle1), 10 * n) for n in range(1000))


@pytest.mark.parametrize(("idle", "free"), [((1.0, 1.0), 2), ((1.0, 0.0), 1), ((0.5, 0.5), 1), ((0.9, 0.9), 2), ((0.0, 0.0), 1)])
def test_a_core_that_is_busy_all_the_time_is_not_counted(two_cores, idle: tuple[float, float], free: int) -> None:  # type: ignore[no-untyped-def]
    two_cores(steady(*idle))
    assert threads.free_cores() == free


def test_on_a_quiet_machine_nothing_is_waited_for(two_cores) -> None:  # type: ignore[no-untyped-def]
    kernel = two_cores(steady(0.0, 0.0, running=1))
    assert threads.free_cores() == 2
    assert kernel.slept == 0


def test_what_was_busy_for_a_moment_does_not_cost_the_step_its_threads(two_cores) -> None:  # type: ignore[no-untyped-def]
    """A start-up of somebody else's: busy in the first three windows, idle in the fourth."""
    texts = iter([told(3, 0, 0, 10 * n) for n in range(4)] + [told(3, 10, 10, 40)])
    assert (threads.free_cores() if two_cores(texts) else None) == 2


def test_as_many_windows_as_said_and_no_more(two_cores) -> None:  # type: ignore[no-untyped-def]
    kernel = two_cores(steady(0.0, 0.0))
    assert threads.free_cores() == 1
    assert kernel.slept == threads.LOOKS


@contextmanager
def neighbours(on: set[int]) -> Iterator[None]:
    """A process that spins on each of these cores; all have begun."""
    code = "import os,sys; os.sched_setaffinity(0, {int(sys.argv[1])}); print(flush=True)\nwhile True: pass"
    running = [subprocess.Popen([sys.executable, "-c", code, str(core)], stdout=subprocess.PIPE) for core in on]
    try:
        for one in running:
            assert one.stdout is not None
            one.stdout.readline()
        yield
    finally:
        for one in running:
            one.kill()
            one.communicate()


@pytest.mark.skipif(len(threads.cores()) < 2, reason="one core: there is nothing to choose")
def test_a_real_neighbour_is_seen() -> None:
    own = threads.cores()
    with neighbours({max(own)}):
        assert threads.free_cores() < len(own)


def test_a_step_keeps_the_number_that_it_began_with(two_cores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    said: list[str] = []

    def emit(event: dict[str, object]) -> None:
        said.append(str(event["message"]))

    two_cores(steady(1.0, 0.0))
    assert threads.threads_of(tmp_path, emit) == 1
    assert said == ["other work keeps 1 of 2 cores busy: 1 thread for this step"]
    two_cores(steady(1.0, 1.0))
    assert threads.threads_of(tmp_path, emit) == 1
    monkeypatch.setenv("FABLOOM_THREADS", "5")
    assert threads.threads_of(tmp_path, emit) == 1
    (tmp_path / threads.THREADS).unlink()
    assert threads.threads_of(tmp_path, emit) == 5


@pytest.mark.parametrize("wrong", ["0", "-1", "two", ""])
def test_a_wrong_number_is_refused(monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    monkeypatch.setenv("FABLOOM_THREADS", wrong)
    with pytest.raises(EnvironmentProblem, match="FABLOOM_THREADS"):
        threads.threads()


def test_this_machine_tells_of_its_cores() -> None:
    if not threads.STAT.is_file():
        pytest.skip("no /proc/stat: all cores count as free")
    assert threads.look(threads.STAT.read_text()).ticks.keys() >= threads.cores()
    assert os.environ.get("FABLOOM_THREADS") is None or threads.asked()
