"""Simulated top-down SEM images of etched patterns: lines, holes and bends, defects with exact masks."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import SemEtch

    return [SemEtch]
