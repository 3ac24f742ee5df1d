"""Options and results of steps under the name that they had first: `fabloom.method` is the room."""

from __future__ import annotations

from .method import Options, StepResult

__all__ = ["Options", "StepResult"]
