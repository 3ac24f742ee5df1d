"""`autoencoder`: images to small latents and back, for diffusion models that live there (Rombach et al. 2022)."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import Autoencoder

    return [Autoencoder]
