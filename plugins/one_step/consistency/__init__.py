"""`consistency`: one or a few steps to an image (Song et al. 2023), distilled from a diffusion model or trained from images alone."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import Consistency

    return [Consistency]
