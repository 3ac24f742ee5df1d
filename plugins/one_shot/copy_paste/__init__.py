"""Copy-paste: the real defects, cut out and put on other places of clean images."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import CopyPaste

    return [CopyPaste]
