"""`sinsemi`: many images from one, by a Schroedinger bridge between the scales of its pyramid."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import SinSemi

    return [SinSemi]
