"""GPDM: the pixels of an image optimised until its patches are distributed as those of another."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import Gpdm

    return [Gpdm]
