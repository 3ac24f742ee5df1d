"""SinGAN: a pyramid of small GANs, each of which learns the patches of one image at one scale."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import SinGan

    return [SinGan]
