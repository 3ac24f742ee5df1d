"""Simulated optical inspection of line/space patterns: Abbe imaging, rough edges, camera noise, defects with exact masks."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import LinePair

    return [LinePair]
