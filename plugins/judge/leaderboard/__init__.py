"""`leaderboard`: one-shot methods side by side, with the published figures beside ours."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import Leaderboard

    return [Leaderboard]
