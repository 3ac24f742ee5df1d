"""How a picture and what lies on it are turned upright: by their EXIF tags, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fabloom.errors import DataError

from .entries import Entry
from .reading import Header, header

if TYPE_CHECKING:
    from .params import LoadParams


def size_of(found: Header, params: LoadParams) -> tuple[int, int]:
    """(height, width) of a file as it is read."""
    return (found.height, found.width) if params.orientation == "ignore" else found.turned()


def turn_of(entry: Entry, found: Header, others: Sequence[tuple[Path, Header]], params: LoadParams) -> int:
    """The tag by which an image is turned, 1 for not at all. Raises DataError where `auto` cannot know how its masks, reference (`others`)
    or shapes lie on it.
    """
    if params.orientation == "ignore":
        return 1
    if params.orientation == "auto":
        odd = next((path for path, other in others if other.orientation != found.orientation), None)
        if odd is not None or (found.orientation != 1 and entry.shapes):
            what = f"'{odd}' by {_said(others, odd)}" if odd is not None else "its annotation may be drawn on it turned or not"
            raise DataError(
                f"{entry.path}: is to be turned by its EXIF tag ({found.orientation}), and {what}; say orientation: apply (each as its tag "
                "says) or ignore (pixels as stored), whichever puts them on each other"
            )
    return found.orientation


def _said(others: Sequence[tuple[Path, Header]], odd: Path) -> int:
    return next(other.orientation for path, other in others if path == odd)


def orientation_of(path: Path, turned: int, params: LoadParams, channels: int | None = None) -> int:
    """The tag by which a mask or reference is turned whose image is turned by `turned`: its own, which `auto` has found to be the same."""
    if params.orientation == "apply":
        return header(path, params.max_pixels, channels=channels).orientation
    return turned
