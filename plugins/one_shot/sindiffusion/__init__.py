"""SinDiffusion: a denoising diffusion model of one image at one scale, whose network sees patches."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import SinDiffusion

    return [SinDiffusion]
