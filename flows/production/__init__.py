"""Retraining on a schedule: what a line's specification asks for, the night that carries it out, the decision it leaves behind."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.kinds import Artifact

from .decision import Decision


@hookimpl
def fabloom_kinds() -> list[type[Artifact]]:
    """The record of a night."""
    return [Decision]
