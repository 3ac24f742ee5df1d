"""How a run has gone so far, and what that means for the next step: every engine asks here whether it may begin."""

from __future__ import annotations

from fabloom.errors import Interrupted
from fabloom.method import PlannedStep, StepResult


class Course:
    """Results by name of step, in the order in which they came. `failure` is the first that failed or was stopped.

    After a stop nothing begins any more; after a failure nothing either, or with `keep_going` only what does not need the failed step.
    """

    def __init__(self, *, keep_going: bool = False) -> None:
        self.results: dict[str, StepResult] = {}
        self.failure: StepResult | None = None
        self._keep_going = keep_going
        self._stopped_in = ""
        self._lost: dict[str, str] = {}

    def add(self, result: StepResult) -> None:
        """Take in how a step ended. Asked once a step: a run may have thousands."""
        self.results[result.name] = result
        status = result.status
        if status == "failed":
            self.failure = self.failure or result
            self._lost[result.name] = "failed"
            if result.exit_code == Interrupted.exit_code:
                self._stopped_in = self._stopped_in or result.name
        elif status == "skipped":
            self._lost[result.name] = "was skipped"

    def hindrance(self, step: PlannedStep) -> str:
        """Why the step is not to begin: what has ended the run, or what it waits for in vain; '' where it may."""
        if self._stopped_in:
            return f"the run was stopped in step '{self._stopped_in}'"
        if self.failure is not None and not self._keep_going:
            return f"step '{self.failure.name}' failed"
        return " and ".join(f"it needs '{name}', which {self._lost[name]}" for name in step.upstream if name in self._lost)
