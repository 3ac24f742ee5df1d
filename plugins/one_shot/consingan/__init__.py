"""ConSinGAN: one generator that grows with the size of one image, its newest stages trained together."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import ConSinGan

    return [ConSinGan]
