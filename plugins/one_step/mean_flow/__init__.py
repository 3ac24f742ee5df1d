"""`mean-flow`: one-step generation by average velocities (Geng et al. 2025), from images alone."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import MeanFlow

    return [MeanFlow]
