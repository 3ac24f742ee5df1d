"""Plans under the name that they had first: `fabloom.planning` is the room."""

from __future__ import annotations

from .method import PlannedStep
from .planning.plan import Plan, make_plan

__all__ = ["Plan", "PlannedStep", "make_plan"]
