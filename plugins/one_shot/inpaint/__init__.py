"""Inpaint: defects that a small conditional network makes inside of a mask, on clean images."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import Inpaint

    return [Inpaint]
