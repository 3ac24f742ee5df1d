"""Simulated optical inspection of arrays of 6T SRAM cells: mirrored cells of three layers, defects with exact masks."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import SramCell

    return [SramCell]
