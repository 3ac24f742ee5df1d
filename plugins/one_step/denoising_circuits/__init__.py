"""`denoising-circuits`: a latent recurrence as teacher, its recorded trajectories, and a student that needs one step."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import DenoisingCircuits

    return [DenoisingCircuits]
