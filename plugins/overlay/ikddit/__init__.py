"""`ikddit`: overlay maps by a masked diffusion transformer with an implicit discriminator."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import Ikddit

    return [Ikddit]
