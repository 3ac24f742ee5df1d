"""`ddpm`: the ordinary diffusion model on diffusers, as a teacher, a base, or something to compare with."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import Ddpm

    return [Ddpm]
