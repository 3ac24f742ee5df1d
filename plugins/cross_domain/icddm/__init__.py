"""`icddm`: implicit cross-domain diffusion, in pixels and (CDLDM) in latents."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import Icddm

    return [Icddm]
