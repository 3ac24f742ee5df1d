"""Models that draw images, side by side: how good what they draw is, and what an image and their training cost."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import Samplers

    return [Samplers]
