"""A device is leased to one step at a time: whoever waits says for whom, can be stopped, and never waits for a fork of a dead step."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fabloom.errors import EnvironmentProblem, Interrupted
from fabloom.progress import Event, silent
from fabloom.running import device
from fabloom.running.device import lease


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where devices are leased."""
    monkeypatch.setattr(device.tempfile, "gettempdir", lambda: str(tmp_path))
    return tmp_path / f"fabloom-devices-{os.getuid()}"


@pytest.fixture
def killed_with_a_fork() -> Iterator[int]:
    """A process that held a device when it was killed, and whose own child lives on; the child."""
    reading, writing = os.pipe()
    holder = os.fork()
    if holder == 0:
        with lease("cuda:0", silent):
            orphan = os.fork()
            if orphan == 0:
                os.write(writing, str(os.getpid()).encode())
            signal.pause()
    orphan = int(os.read(reading, 32))
    os.kill(holder, signal.SIGKILL)
    os.waitpid(holder, 0)
    yield orphan
    os.kill(orphan, signal.SIGKILL)
    os.close(reading)
    os.close(writing)


def test_a_lease_ends_with_its_step_also_where_a_fork_of_the_step_lives_on(killed_with_a_fork: int) -> None:
    os.kill(killed_with_a_fork, 0)
    with lease("cuda:0", silent, lambda: True) as name:
        assert name == "cuda:0"


def test_a_wait_names_who_has_the_device_and_ends_when_a_stop_is_asked_for() -> None:
    told: list[Event] = []
    waiting = pytest.raises(Interrupted, match="waiting for cuda:0")
    with lease("cuda:0", silent), waiting, lease("cuda:0", told.append, lambda: bool(told)):
        pass
    assert [event["message"] for event in told] == [f"waiting for cuda:0: a step in process {os.getpid()} holds it"]


def test_the_first_free_device_is_taken_and_a_wait_goes_on_with_the_first_that_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    waits, taken = threading.Event(), []

    def third() -> None:
        with lease("cuda", lambda event: waits.set()) as name:
            taken.append(name)

    with lease("cuda", silent) as first:
        with lease("cuda", silent) as second:
            waiting = threading.Thread(target=third)
            waiting.start()
            assert waits.wait(60) and not taken
        waiting.join(60)
    assert (first, second, taken) == ("cuda:0", "cuda:1", ["cuda:1"])
    with lease("cpu", silent) as one, lease("cpu", silent) as other:
        assert one == other == "cpu", "a CPU is nobody's own"


@pytest.mark.parametrize("what", ["a link", "another's link"])
def test_what_somebody_put_in_the_place_of_a_lease_is_not_followed(folder: Path, tmp_path: Path, what: str) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "cuda-0.lock").write_text("precious")
    if what == "a link":
        folder.mkdir()
        (folder / "cuda-0.lock").symlink_to(mine / "cuda-0.lock")
    else:
        folder.symlink_to(mine)
    with pytest.raises(EnvironmentProblem, match="Remove it"), lease("cuda:0", silent):
        pass
    assert (mine / "cuda-0.lock").read_text() == "precious" and len(list(mine.iterdir())) == 1
