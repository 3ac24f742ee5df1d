"""`unet`: a defect segmenter, trained on labelled images and scored on a held-out set."""

from __future__ import annotations

from fabloom.hooks import hookimpl
from fabloom.method import Method


@hookimpl
def fabloom_methods() -> list[type[Method]]:
    """The method of this room."""
    from .method import UNet

    return [UNet]
