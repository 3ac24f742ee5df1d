"""Which of many labelled images to train on: no copies, within the range of the real ones, and what the segmenter gets wrong."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import Curate

    return [Curate]
