"""What an author of a method sees: `Method` and `task`, the `Context` of a running task, and a step before and after it ran."""

from __future__ import annotations

from .context import Context
from .method import CONVENTIONAL, Method, PlannedStep, Port, TaskSpec
from .step import Options, StepRequest, StepResult
from .task import read_tasks, task

__all__ = [
    "CONVENTIONAL", "Context", "Method", "Options", "PlannedStep", "Port", "StepRequest", "StepResult", "TaskSpec", "read_tasks", "task",
]  # fmt: skip
