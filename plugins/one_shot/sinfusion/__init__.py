"""SinFusion: a denoising diffusion model of one image, trained on large crops of it to predict the clean crop."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import SinFusion

    return [SinFusion]
