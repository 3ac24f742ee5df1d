"""What a run gave: `RunResult`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fabloom.method import StepResult
from fabloom.planning.plan import Plan
from fabloom.running.engine import exit_code


@dataclass(frozen=True)
class RunResult:
    """What a run gave: `steps` in order, the metrics of the last Report, and the page to look at."""

    run: str
    plan: Plan
    steps: list[StepResult]
    report: dict[str, Any]
    report_path: Path | None

    @property
    def exit_code(self) -> int:
        """0 if every step ran or was reused, else the code of the first failure."""
        return exit_code(self.steps)

    def as_dict(self) -> dict[str, Any]:
        """The document that `fabloom run --json` prints."""
        fields = ("task", "kind", "key", "digest", "status", "seconds", "error")
        return {
            "run": self.run,
            "steps": {r.name: {f: getattr(r, f) for f in fields if f != "error" or r.error} for r in self.steps},
            "report": self.report,
            "report_path": str(self.report_path) if self.report_path else None,
        }
