"""What a run gave: `RunResult`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.errors import Interrupted, RunFailed, StepFailed, UserError, did_you_mean
from fabloom.frames import door
from fabloom.method import StepResult
from fabloom.notebook import html
from fabloom.planning.plan import Plan
from fabloom.running.engine import exit_code

if TYPE_CHECKING:
    from fabloom.kinds import Artifact
    from fabloom.kinds.store import Store


@dataclass(frozen=True, repr=False)
class RunResult:
    """What a run gave: `steps` in order, the metrics of the last Report, and the page to look at. `result["model"]` is the artifact of
    the step 'model'.

    `given` holds the keys of what stood in for steps (`inputs` of `fabloom.run`), by the names of these.
    """

    run: str
    plan: Plan
    steps: list[StepResult]
    report: dict[str, Any]
    report_path: Path | None
    store: Store | None = field(default=None, compare=False)
    given: Mapping[str, str] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """0 if every step ran or was reused, else the code of the first failure."""
        return exit_code(self.steps)

    @door
    def __getitem__(self, name: str) -> Artifact:
        """The artifact of a step. Raises UserError for a name that is no step, StepFailed where the step made none."""
        if name not in self:
            raise UserError(f"the run has no step '{name}'.{did_you_mean(name, self)}")
        step = next((step for step in self.steps if step.name == name), None)
        if step is not None and step.status not in ("ran", "reused"):
            raise StepFailed(name, step.error or step.status)
        if self.store is None:
            raise UserError(f"this result does not say where '{name}' lies; open the store and get {self.given.get(name, '')}")
        return self.store.get(step.key if step is not None else self.given[name])

    def __iter__(self) -> Iterator[str]:
        """Names of the steps, and of what was given in place of some."""
        return iter([*self.given, *(step.name for step in self.steps)])

    def __contains__(self, name: object) -> bool:
        return any(name == one for one in self)

    def __len__(self) -> int:
        return len(self.given) + len(self.steps)

    @door
    def check(self) -> None:
        """Raise RunFailed where a step failed or was stopped."""
        bad = next((step for step in self.steps if step.status == "failed"), None)
        if bad is None:
            return
        told = bad.error if bad.name in bad.error else f"step '{bad.name}': {bad.error}"
        others = sum(step.status == "skipped" for step in self.steps)
        rest = f" {others} other step{'s' if others > 1 else ''} did not run." if others else ""
        again = "" if bad.exit_code == Interrupted.exit_code else " Mend the cause and run again: what is finished is reused."
        raise RunFailed(f"{told}{'' if told.endswith('.') else '.'}{rest}{again}", self)

    def as_dict(self) -> dict[str, Any]:
        """The document that `fabloom run --json` prints."""
        fields = ("task", "kind", "key", "digest", "status", "seconds", "error")
        return {
            "run": self.run,
            "steps": {r.name: {f: getattr(r, f) for f in fields if f != "error" or r.error} | {"status": r.outcome} for r in self.steps},
            "report": self.report,
            "report_path": str(self.report_path) if self.report_path else None,
        }

    def __repr__(self) -> str:
        counts = {one: sum(step.outcome == one for step in self.steps) for one in dict.fromkeys(step.outcome for step in self.steps)}
        return f"RunResult({self.run}: {', '.join(f'{many} {status}' for status, many in counts.items())})"

    def _repr_html_(self) -> str | None:
        return html(self)
