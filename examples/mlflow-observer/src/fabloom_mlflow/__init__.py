"""An observer: each step that a pipeline ran becomes a run in MLflow.

Observers are called in the process that runs the pipeline. They see a step and its result, and can change neither.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fabloom import hookimpl

if TYPE_CHECKING:
    from fabloom import PlannedStep, StepResult

_began: dict[tuple[str, str], float] = {}
"""Unix time at which a step began, by its name and key. Steps run in parallel, each in a thread of the engine."""


@hookimpl
def fabloom_step_started(step: PlannedStep) -> None:
    """Remember when a step began: the result of one that failed does not say."""
    _began[step.name, step.key] = time.time()


@hookimpl
def fabloom_step_finished(step: PlannedStep, result: StepResult, manifest: Mapping[str, Any] | None) -> None:
    """Log a step that ran or failed. One that was reused has been logged when it ran."""
    ended = time.time()
    began = _began.pop((step.name, step.key), ended)
    if result.status in ("ran", "failed"):
        from .tracking import log_step  # MLflow takes seconds to import: only where something is to be logged

        log_step(step, result, manifest["curves"] if manifest else {}, began, ended)
