"""GPNN: patches of one image, rearranged by nearest neighbours."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import Gpnn

    return [Gpnn]
