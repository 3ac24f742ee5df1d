"""Overlay maps: of simulated fabs whose truth is known, and measured ones from tables and files."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import OverlayMap

    return [OverlayMap]
