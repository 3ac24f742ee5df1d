"""The data bar that microscopes write below an image: found, so that it can be cut off.

A bar is a band of one grey level with writing on it. From the last row up, rows count as long as they hold much of that level; the bar
begins at the topmost of them that holds nothing else, or at the line drawn along its border. Noise keeps a picture itself from having
rows of one level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds.origin import printable

from .reading import decode, header, turn

if TYPE_CHECKING:
    from .entries import Entry, Scene
    from .params import LoadParams

BLANK, WRITTEN = 0.9, 0.3
"""Least share of the ground's level in a row without writing, and in one with it."""
NEAR = 0.02
"""Levels this share of the image's range away from the ground are the ground: JPEG blurs writing."""
LEAST, MOST = 8, 1 / 3
"""Fewest rows of a bar, and its largest share of the image."""
BORDER = 3
"""Most rows of a line along its upper or lower border."""


def bar_height(pixels: NDArray[Any]) -> int:
    """Rows of the bar below an image [H,W,C]; 0 where none is seen."""
    share, even = _ground(pixels)
    share[-BORDER:][even[-BORDER:]] = 1.0
    picture = np.flatnonzero(share < WRITTEN)
    first = int(picture[-1]) + 1 if len(picture) else 0
    blank = np.flatnonzero(share[first:] >= BLANK)
    if not len(blank):
        return 0
    top = first + int(blank[0])
    written = bool((share[top:] < BLANK).any())
    above = even[max(top - BORDER, 0) : top][::-1]
    rows = len(share) - top + int(np.cumprod(above).sum())
    return rows if written and LEAST <= rows <= MOST * len(share) else 0


def clear_bar(images: Sequence[NDArray[Any]]) -> int:
    """Rows of the bar below all of some images [H,W,C]; 0 where they have not the same one, or where it does not begin at once.

    The ground of a picture may have little on it below, as a bar has little writing, but not from one row to the next.
    """
    found = {bar_height(one) for one in images}
    rows = found.pop() if len(found) == 1 else 0
    if not rows or any((_ground(one)[0][-rows - BORDER : -rows] >= WRITTEN).any() for one in images):
        return 0
    return rows


def _ground(pixels: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """(share of each row [H] that is as grey as most of the last rows, which rows are of one level) of an image [H,W,C]."""
    grey = pixels[..., : 3 if pixels.shape[2] > 1 else 1].mean(2, dtype=np.float64)
    tolerance = NEAR * max(float(np.ptp(grey)), 1.0)
    return (np.abs(grey - np.median(grey[-LEAST:])) <= tolerance).mean(1), np.ptp(grey, axis=1) <= tolerance


def upright(params: LoadParams, entry: Entry) -> NDArray[Any]:
    """The whole image of a file [H,W,C]."""
    found = header(entry.path, params.max_pixels, channels=params.channels, page=entry.page)
    pixels = decode(entry.path, channels=params.channels, page=entry.page)
    return turn(pixels, 1 if params.orientation == "ignore" else found.orientation)


def without_bar(params: LoadParams, scene: Scene) -> tuple[LoadParams, str]:
    """The parameters with `crop_bottom` as found where `info_bar` asks for it, and a sentence that tells so; else as they are, and ''.

    Raises DataError where an image has no bar, or one of another height than the others.
    """
    if not params.info_bar:
        return params, ""
    rows: dict[int, str] = {}
    for entry in scene.entries:
        rows.setdefault(bar_height(upright(params, entry)), entry.name)
        if 0 in rows:
            raise DataError(f"{entry.path}: no info bar is seen below it; leave out info_bar, or say crop_bottom")
        if len(rows) > 1:
            (one, first), (other, second) = rows.items()
            raise DataError(f"the info bar of '{first}' has {one} rows, that of '{second}' {other}: load them apart, or say crop_bottom")
    (cut, _), *_ = rows.items()
    first = printable(scene.entries[0].name)
    told = f"an info bar of {cut} rows was found below all {len(scene.entries)} images, such as '{first}', and cut off"
    return params.model_copy(update={"crop_bottom": cut}), told
