"""Prefect's states of steps, and back.

A step that is left out ends as `Skipped`, of the type of what is completed: nothing went wrong in it, and an automation on runs that
are cancelled or fail must not fire for it. Whether it made anything says its name, as with `Reused`. A step that was stopped ends as
`Cancelled`.
"""

from __future__ import annotations

from typing import Any

from prefect.client.schemas import State
from prefect.states import Cancelled, Completed, Failed

from fabloom.errors import Interrupted
from fabloom.method import PlannedStep, StepResult
from fabloom.running.engine import Engine, skipped


def state_of(result: StepResult) -> State[Any]:
    """How Prefect shows the end of a step."""
    if result.status == "skipped":
        return Completed(name="Skipped", message=result.error)
    if result.exit_code == Interrupted.exit_code:
        return Cancelled(message=result.error)
    if result.status == "failed":
        return Failed(message=result.error)
    return Completed(name="Reused" if result.status == "reused" else "Completed", data=result.key)


def result_of(step: PlannedStep, state: State[Any], engine: Engine) -> StepResult:
    """The result of a step that did not tell it itself, from its Prefect state and its manifest."""
    if state.name == "Skipped":
        return skipped(step, state.message or "")
    if state.is_completed() and engine.store.has(step.key):
        return StepResult.committed(step, "reused" if state.name == "Reused" else "ran", engine.store.manifest(step.key))
    if state.is_cancelled():
        return StepResult.of(step, "failed", error=state.message or "", exit_code=Interrupted.exit_code)
    if state.is_failed() or state.is_crashed():
        return StepResult.of(step, "failed", error=state.message or state.name or "", exit_code=1)
    return skipped(step, state.message or "an upstream step failed")


def state_of_run(failure: StepResult) -> State[Any]:
    """How Prefect shows the end of a run in which a step failed or was stopped. Returned; an exception would print its traceback."""
    ended = Cancelled if failure.exit_code == Interrupted.exit_code else Failed
    named = failure.error.startswith(f"step '{failure.name}'")  # most errors of steps say so themselves
    return ended(message=failure.error if named else f"step '{failure.name}' {failure.outcome}: {failure.error}")
