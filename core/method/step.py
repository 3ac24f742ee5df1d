"""What a step is asked with and what became of it, as plain data that crosses process boundaries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .method import PlannedStep


@dataclass(frozen=True)
class Options:
    """How to run: none of it is in a key. `redo` names steps whose committed result is to be made again."""

    device: str = "auto"
    checkpoint_seconds: float = 30.0
    redo: tuple[str, ...] = ()


@dataclass(frozen=True)
class StepResult:
    """What became of a step: status is ran, reused, failed or skipped."""

    name: str
    task: str
    kind: str
    key: str
    status: str
    digest: str = ""
    seconds: float = 0.0
    error: str = ""
    exit_code: int = 0
    metrics: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, step: PlannedStep, status: str, **more: Any) -> StepResult:
        """A result of `step`."""
        return cls(step.name, step.task, step.spec.output.kind, step.key, status, **more)

    @classmethod
    def committed(cls, step: PlannedStep, status: str, manifest: Mapping[str, Any], seconds: float = 0.0) -> StepResult:
        """A result answered from the manifest alone."""
        return cls.of(step, status, digest=manifest["digest"], metrics=manifest["metrics"], seconds=seconds)

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)
