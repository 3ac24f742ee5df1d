"""Simulated optical inspection of arrays of contact holes: square and hexagonal, defects with exact masks."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import ContactHole

    return [ContactHole]
