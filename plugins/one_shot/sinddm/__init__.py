"""SinDDM: a multi-scale denoising diffusion model of one image."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import SinDdm

    return [SinDdm]
