"""When steps are given to Prefect's runner. Futures are ended by hand, so that the order is told and not timed."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest

from fabloom.flows.run.prefect.scheduling import submit_as_ready

GRAPH = {"slow": [], "after": ["slow"], "last": ["after"], "other": [], "another": [], "end": ["last", "other"]}


class Runner:
    """Holds what it was given, and ends it when told."""

    def __init__(self) -> None:
        self.given: list[str] = []
        self.futures: dict[str, Any] = {}
        self._changed = threading.Condition()

    def submit(self, step: Any) -> Any:
        with self._changed:
            self.given.append(step.name)
            self._changed.notify()
        return SimpleNamespace(wrapped_future=Future())

    def end(self, name: str, error: Exception | None = None) -> None:
        while name not in self.futures:
            self.settled()
        self.futures[name].wrapped_future.set_exception(error) if error else self.futures[name].wrapped_future.set_result(None)

    def wait_for(self, *names: str) -> None:
        """Until the steps have been given, in this order; a moment more would show one too many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.given) >= len(names), 20), self.given
        self.settled()
        assert self.given == list(names)

    def settled(self) -> None:
        threading.Event().wait(0.05)


def begun(runner: Runner, workers: int) -> threading.Thread:
    steps: list[Any] = [SimpleNamespace(name=name, upstream=above) for name, above in GRAPH.items()]
    thread = threading.Thread(target=submit_as_ready, args=(steps, runner.futures, runner.submit, workers), daemon=True)
    thread.start()
    return thread


def test_a_worker_that_is_free_takes_the_first_step_that_is_ready() -> None:
    runner = Runner()
    thread = begun(runner, 2)
    runner.wait_for("slow", "other")  # `after` waits for `slow`, and no thread waits with it
    runner.end("other")
    runner.wait_for("slow", "other", "another")
    runner.end("slow", ValueError("what fails is over too: whether the next begins is for the run's course"))
    runner.wait_for("slow", "other", "another", "after")
    runner.end("after")
    runner.end("another")
    runner.wait_for("slow", "other", "another", "after", "last")
    runner.end("last")
    thread.join(20)
    assert not thread.is_alive() and runner.given[-1] == "end"


def test_one_worker_keeps_the_order_of_the_plan() -> None:
    runner = Runner()
    thread = begun(runner, 1)
    for number, name in enumerate(GRAPH, start=1):
        runner.wait_for(*list(GRAPH)[:number])
        if name != "end":
            runner.end(name)
    thread.join(20)
    assert not thread.is_alive() and runner.given == list(GRAPH)


def test_who_was_thrown_out_comes_back_and_gives_no_step_twice() -> None:
    runner = Runner()
    steps: list[Any] = [SimpleNamespace(name=name, upstream=above) for name, above in GRAPH.items()]

    def once(step: Any) -> Any:
        if step.name == "other" and not thrown:
            thrown.append(step)
            raise InterruptedError
        return runner.submit(step)

    thrown: list[Any] = []
    with pytest.raises(InterruptedError):
        submit_as_ready(steps, runner.futures, once, 2)
    assert runner.given == ["slow"]
    thread = threading.Thread(target=submit_as_ready, args=(steps, runner.futures, once, 2), daemon=True)
    thread.start()
    runner.wait_for("slow", "other")
    for name in ("slow", "other", "another", "after", "last"):
        runner.end(name)
    thread.join(20)
    assert not thread.is_alive() and sorted(runner.given) == sorted(GRAPH)
