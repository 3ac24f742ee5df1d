"""From boxes to masks and classes of pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fabloom import DataError

from .layout import Box

Grey = NDArray[np.uint8]


def differing(template: Grey, tested: Grey, threshold: int, tolerance: int) -> NDArray[np.bool_]:
    """Where the tested image is more than `threshold` above or below every template pixel within `tolerance` pixels.

    Template and tested image are registered to a pixel or two only; with tolerance 0 every edge of the board differs. The
    price: a defect that touches copper loses a rim of up to `tolerance` pixels.
    """
    size = 2 * tolerance + 1
    level = tested.astype(np.int16)
    above: NDArray[np.bool_] = level - ndimage.maximum_filter(template, size) > threshold
    below: NDArray[np.bool_] = ndimage.minimum_filter(template, size) - level > threshold
    differs: NDArray[np.bool_] = above | below
    return differs


def classes(boxes: Sequence[Box], shape: tuple[int, int], marked: NDArray[np.bool_] | None) -> Grey:
    """The class of each pixel, uint8 [H,W], 0 where there is no defect; of overlapping boxes the smaller one wins.

    `marked` limits the boxes to these pixels. Raises DataError for a box without any.
    """
    drawn = np.zeros(shape, np.uint8)
    for box in sorted(boxes, key=lambda b: (b.x2 - b.x1) * (b.y2 - b.y1), reverse=True):
        window = (slice(box.y1, box.y2), slice(box.x1, box.x2))
        if marked is None:
            drawn[window] = box.label
        elif marked[window].any():
            drawn[window][marked[window]] = box.label
        else:
            raise DataError(
                f"{box.place}: nothing in the box differs from the template; lower `threshold` or `tolerance`, or set mask=boxes"
            )
    return drawn


def most(drawn: Grey, names: int) -> int:
    """The class with most pixels; 0 where there is none, the lower number where two are equal."""
    counts = np.bincount(drawn.ravel(), minlength=names)[1:]
    return int(counts.argmax()) + 1 if counts.any() else 0
