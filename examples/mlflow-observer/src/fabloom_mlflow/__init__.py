"""An observer: each step that a pipeline ran becomes a run in MLflow.

Observers are called in the process that runs the pipeline. They see a step and its result, and can change neither.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fabloom import hookimpl

if TYPE_CHECKING:
    from fabloom import PlannedStep, StepResult

_began: dict[tuple[str, str], float] = {}
"""Unix time at which a step began, by its name and key. Steps run in parallel, each in a thread of the engine."""


_live: dict[tuple[str, str], str] = {}
"""MLflow's runs that are open, by name and key of the step."""

LIVE_VARIABLE = "FABLOOM_MLFLOW_LIVE"


@hookimpl
def fabloom_step_started(step: PlannedStep) -> None:
    """Remember when a step began: the result of one that failed does not say."""
    _began[step.name, step.key] = time.time()


@hookimpl
def fabloom_step_logged(step: PlannedStep, loop: str, at: int, values: Mapping[str, float]) -> None:
    """Log what a training says while it goes on, where `FABLOOM_MLFLOW_LIVE` asks for it: its run in MLflow is open until the step ends."""
    if os.environ.get(LIVE_VARIABLE):
        from .tracking import log_points

        place = step.name, step.key
        named = {f"{loop}.{name}": value for name, value in values.items()}
        _live[place] = log_points(_live.get(place), step, _began.get(place, time.time()), named, at)


@hookimpl
def fabloom_step_finished(step: PlannedStep, result: StepResult, manifest: Mapping[str, Any] | None) -> None:
    """Log a step that ran or failed. One that was reused has been logged when it ran."""
    ended = time.time()
    began = _began.pop((step.name, step.key), ended)
    if result.status in ("ran", "failed"):
        from .tracking import log_step  # MLflow takes seconds to import: only where something is to be logged

        open_run = _live.pop((step.name, step.key), None)
        curves = manifest["curves"] if manifest and open_run is None else {}  # those of an open run are there already
        log_step(step, result, curves, began, ended, open_run)
