"""Wafer maps: which dies of a wafer fail. Simulated ones with known membership, and those of MixedWM38 and WM-811K."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import WaferMap

    return [WaferMap]
