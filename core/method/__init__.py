"""What an author of a method sees: `Method` and `task`, the `Context` of a running task, and a step before and after it ran.

The room can be called: `fabloom.method("sinsemi")` is that method, ready to run in Python (`fabloom.flows.run.methods`).
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

from .context import Context
from .convention import CONVENTIONAL, Convention
from .fanout import Fanout
from .method import Method, PlannedStep, Port, TaskSpec
from .origin import Origin, origin_of
from .outline import Outline
from .step import Options, StepRequest, StepResult
from .survey import Structure, Survey
from .task import read_tasks, task

__all__ = [
    "CONVENTIONAL", "Context", "Convention", "Fanout", "Method", "Options", "Origin", "Outline", "PlannedStep", "Port", "StepRequest",
    "StepResult", "Structure", "Survey", "TaskSpec", "origin_of", "read_tasks", "task",
]  # fmt: skip


class Room(ModuleType):
    """The room as somebody calls it who uses a method and writes none."""

    def __call__(self, name: str, **options: Any) -> Any:
        """The method of that name; what it comes to is the business of the door, which names what lies above the core."""
        return importlib.import_module("fabloom").bound_method(name, **options)


sys.modules[__name__].__class__ = Room
