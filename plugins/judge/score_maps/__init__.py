"""`score-maps`: maps of scores side by side, pixel by pixel and defect by defect."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import ScoreMaps

    return [ScoreMaps]
