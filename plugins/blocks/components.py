"""Connected components of a binary image, kept by area and circularity."""

from __future__ import annotations

from math import pi, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

EIGHT = np.ones((3, 3), int)
RING = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))
"""The eight neighbours (dy, dx), clockwise from the right; odd ones are diagonal."""


def perimeter(component: NDArray[np.bool_]) -> float:
    """Length of the closed outer contour through the centres of the border pixels: 1 a straight step, sqrt(2) a diagonal one.

    `component` [h,w] is one 8-connected component. Moore's tracing with Jacob's stopping rule. A single pixel has length 0.
    """
    padded = np.pad(component, 1)
    start = tuple(int(v) for v in np.argwhere(padded)[0])
    at, search, first, length = start, 7, -1, 0.0
    while True:
        for turn in range(8):
            step = (search + turn) % 8
            if padded[at[0] + RING[step][0], at[1] + RING[step][1]]:
                break
        else:
            return 0.0
        if at == start and step == first:
            return length
        first = step if first < 0 else first
        at = (at[0] + RING[step][0], at[1] + RING[step][1])
        length += sqrt(2) if step % 2 else 1.0
        search = (step + (5 if step % 2 else 6)) % 8


def keep(binary: NDArray[np.bool_], min_area: int, min_circularity: float) -> tuple[NDArray[np.bool_], int]:
    """The union [H,W] of components with area >= `min_area` pixels and 4 pi area / perimeter^2 > `min_circularity`, and their number."""
    parts, count = ndimage.label(binary, EIGHT)
    areas = np.bincount(parts.ravel(), minlength=count + 1)
    kept = np.zeros(count + 1, bool)
    for index, box in enumerate(ndimage.find_objects(parts), start=1):
        if areas[index] >= min_area:
            kept[index] = 4 * pi * areas[index] > min_circularity * perimeter(parts[box] == index) ** 2
    return kept[parts], int(kept.sum())
