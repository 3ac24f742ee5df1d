"""Curves while a run goes on: events, observers, TensorBoard."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import fabloom
from fabloom.errors import EnvironmentProblem
from fabloom.flows.run.tensorboard import TensorBoard
from fabloom.hooks import hookimpl
from fabloom.kinds import Model
from fabloom.method import Context, Method, PlannedStep, task
from fabloom.params import Params
from fabloom.progress import Event, Scalars
from fabloom.registry import Origin, Registry
from fabloom.testing import MemoryStore

PIPELINE = {"name": "curves", "steps": {"model": {"task": "logging.train"}}}


class Logging(Method):
    name = "logging"

    @task(version=1, signature="from-nothing")
    def train(self, ctx: Context, params: Params) -> Model:
        """Logs what is known beforehand."""
        import torch

        for step in ctx.loop(50, name="main"):
            step.log(loss=torch.tensor(1.0 / (1 + step.index)), rate=0.5)
        return Model.write(ctx, {"x": torch.zeros(1)}, {})


class Watcher:
    def __init__(self) -> None:
        self.seen: list[tuple[str, str, int, dict[str, float]]] = []

    @hookimpl
    def fabloom_methods(self) -> list[type[Method]]:
        return [Logging]

    @hookimpl
    def fabloom_step_logged(self, step: PlannedStep, loop: str, at: int, values: dict[str, float]) -> None:
        self.seen.append((step.name, loop, at, dict(values)))
        values["loss"] = -1.0
        raise RuntimeError("a broken observer")


@pytest.fixture
def registry() -> Registry:
    made = Registry()
    watcher = Watcher()
    made.register(watcher, Origin("watcher", "watcher", "1"))
    made.watcher = watcher  # type: ignore[attr-defined]
    assert not made.noticed
    return made


def test_numbers_are_sent_as_they_come_but_not_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("fabloom.progress.time.monotonic", lambda: clock[0])
    sent: list[Event] = []
    with Scalars(sent.append, "main") as watched:
        for at in range(10):
            watched.add(at, {"loss": float(at)})
            clock[0] += 0.06
    assert [event["at"] for event in sent] == [0, 4, 8, 9], "every 0.2 s, and the last"
    assert sent[-1] == {"event": "scalars", "loop": "main", "at": 9, "values": {"loss": 9.0}}


def test_curves_reach_tensorboard_and_observers_and_change_nothing(registry: Registry, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events: list[Event] = []
    store = MemoryStore()
    with TensorBoard(tmp_path) as board:
        done = fabloom.run(PIPELINE, store=store, registry=registry, device="cpu", emit=board.watching(events.append))
    scalars = [event for event in events if event["event"] == "scalars"]
    assert scalars[0]["at"] == 0 and scalars[-1] == {
        "event": "scalars", "step": "model", "loop": "main", "at": 49, "values": {"loss": pytest.approx(0.02), "rate": 0.5},
    }  # fmt: skip
    read = EventAccumulator(str(board.folder / "model"))
    read.Reload()
    points = [(point.step, point.value) for point in read.Scalars("main/loss")]
    assert points[0] == (0, 1.0) and points[-1] == (49, pytest.approx(0.02))
    seen: list[Any] = registry.watcher.seen  # type: ignore[attr-defined]
    assert [one[2] for one in seen] == [event["at"] for event in scalars] and seen[0][:2] == ("model", "main")
    assert store.manifest(done.steps[0].key)["curves"]["main.loss"][-1] == [49, pytest.approx(0.02)]


def test_what_is_missing_or_in_the_way_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentProblem, match="cannot be made: Not a directory"):
        TensorBoard(tmp_path / "file")
    for name in [name for name in sys.modules if name.startswith(("torch.utils.tensorboard", "tensorboard"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(EnvironmentProblem, match=r"pip install 'fabloom\[tensorboard\]'"):
        TensorBoard(tmp_path)
