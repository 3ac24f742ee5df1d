"""`Executor`: a place where steps run. `fabloom.testing.ExecutorConformance` holds an executor to it."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Protocol

from fabloom.method import StepRequest, StepResult
from fabloom.progress import Emit


class Executor(Protocol):
    """Runs requested steps here, in other processes or on other machines.

    What the types cannot say: the future never raises, a step that fails, dies or is stopped gives a result that says so; the
    artifact is in the store at `request.store` before the future is done; events of the step reach `emit` before that, too, from any
    thread; equal requests at the same time make the artifact once.
    """

    def submit(self, request: StepRequest, emit: Emit) -> Future[StepResult]:
        """Begin the step, or run it at once. Raises EnvironmentProblem where nothing can be started at all."""
        ...

    def stop(self) -> None:
        """Ask every running step to stop at its next checkpoint, and start none any more; safe to call twice, from any thread."""
        ...

    def close(self) -> None:
        """End what was started; afterwards nothing of this executor is left running."""
        ...
