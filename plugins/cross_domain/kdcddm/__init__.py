"""`kdcddm`: a one-step translator between clean and defect, taught by a cross-domain diffusion model."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import Kdcddm

    return [Kdcddm]
