"""An observer: each step that a pipeline ran becomes a run in MLflow.

Observers are called in the process that runs the pipeline. They see a step and its result, and can change neither.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fabloom import hookimpl

if TYPE_CHECKING:
    from fabloom import PlannedStep, StepResult

_began: dict[tuple[str, str], float] = {}
"""Unix time at which a step began, by its name and key. Steps run in parallel, each in a thread of the engine."""


@dataclass
class Live:
    """MLflow's run of a step that goes on, the (name, turn) of points that are in it, and whether logging failed and is left to the end."""

    run: str | None = None
    points: set[tuple[str, int]] = field(default_factory=set)
    down: bool = False


_live: dict[tuple[str, str], Live] = {}
"""By name and key of the step."""


@hookimpl
def fabloom_step_started(step: PlannedStep) -> None:
    """Remember when a step began: the result of one that failed does not say."""
    _began[step.name, step.key] = time.time()


@hookimpl
def fabloom_step_logged(step: PlannedStep, loop: str, at: int, values: Mapping[str, float]) -> None:
    """Log what a training says while it goes on: its run in MLflow is open until the step ends."""
    live = _live.setdefault((step.name, step.key), Live())
    if live.down:
        return
    from .tracking import log_points

    named = {f"{loop}.{name}": value for name, value in values.items()}
    try:
        live.run = log_points(live.run, step, _began.get((step.name, step.key), time.time()), named, at)
    except BaseException:
        live.down = True  # a server that is down is told of once, not five times a second, and asked again when the step ends
        raise
    live.points |= {(name, at) for name in named}


@hookimpl
def fabloom_step_finished(step: PlannedStep, result: StepResult, manifest: Mapping[str, Any] | None) -> None:
    """Log a step that ran or failed, and the points of its curves that are not logged yet. One that was reused was logged when it ran."""
    ended = time.time()
    began, live = _began.pop((step.name, step.key), ended), _live.pop((step.name, step.key), Live())
    if result.status in ("ran", "failed"):
        from .tracking import log_step  # MLflow takes seconds to import: only where something is to be logged

        curves = manifest["curves"] if manifest else {}
        rest = {name: [point for point in points if (name, point[0]) not in live.points] for name, points in curves.items()}
        log_step(step, result, rest, began, ended, live.run)
