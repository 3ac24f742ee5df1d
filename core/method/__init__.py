"""What an author of a method sees: `Method` and `task`, the `Context` of a running task, and a step before and after it ran."""

from __future__ import annotations

from .context import Context
from .convention import CONVENTIONAL, Convention
from .method import Method, PlannedStep, Port, TaskSpec
from .origin import Origin, origin_of
from .step import Options, StepRequest, StepResult
from .task import read_tasks, task

__all__ = [
    "CONVENTIONAL", "Context", "Convention", "Method", "Options", "Origin", "PlannedStep", "Port", "StepRequest", "StepResult", "TaskSpec",
    "origin_of", "read_tasks", "task",
]  # fmt: skip
