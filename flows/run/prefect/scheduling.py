"""When each step is given to Prefect's runner: as soon as all that it needs is there and a worker is free, in the order of the plan.

A thread of the runner waits inside for what its task needs. A step that were given too early would hold one, and a worker would stand idle
while others could begin.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fabloom.method import PlannedStep

Submit = Callable[[PlannedStep], Any]
"""Gives a step to the runner, which answers with Prefect's future of it."""


def submit_as_ready(steps: Iterable[PlannedStep], futures: dict[str, Any], submit: Submit, workers: int) -> None:
    """Submit every step, the first that is ready whenever fewer than `workers` run, and add its future to `futures`.

    What `futures` holds is not submitted again, so that whoever was thrown out of here may come back. Returns when the last is submitted.
    """
    ended = threading.Event()
    waiting = {step.name: step for step in steps if step.name not in futures}
    running = {name: future for name, future in futures.items() if not _over(future)}
    for future in running.values():
        future.wrapped_future.add_done_callback(lambda _: ended.set())
    while waiting:
        ended.clear()  # before looking: an end in between is seen now or wakes
        running = {name: future for name, future in running.items() if not _over(future)}
        while len(running) < workers and (step := _ready(waiting, futures)) is not None:
            future = futures[step.name] = running[step.name] = submit(step)
            del waiting[step.name]
            future.wrapped_future.add_done_callback(lambda _: ended.set())
        if waiting:
            ended.wait()


def _ready(waiting: Mapping[str, PlannedStep], futures: Mapping[str, Any]) -> PlannedStep | None:
    """The first step whose inputs are made, or will never be: it is then for the run's course to say so."""
    for step in waiting.values():
        if all(name in futures and _over(futures[name]) for name in step.upstream):
            return step
    return None


def _over(future: Any) -> bool:
    return bool(future.wrapped_future.done())
