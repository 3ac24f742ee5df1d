"""Connected components of a binary image, kept by area and circularity; of a difference, by its heights as well."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import pi, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fabloom.kinds.masks import UNKNOWN, is_defect

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


@dataclass(frozen=True)
class Found:
    """What a difference shows: a mask [H,W] of 0, 1 and 255 (cannot tell), and how many components are sure and how many doubtful."""

    mask: NDArray[np.uint8]
    sure: int
    doubtful: int

    @property
    def defect(self) -> NDArray[np.bool_]:
        """The pixels of sure defects [H,W]."""
        return is_defect(self.mask)

    @property
    def told(self) -> bool:
        """Whether it can be told if the image has a defect: it has a sure one, or nothing is doubtful."""
        return self.sure > 0 or not self.doubtful


@dataclass(frozen=True)
class Heights:
    """Hysteresis of differences, in grey levels: a component above `doubt` holds defects where it rises above `seed`.

    Their edge is at half of its height, though not above `edge`: the edge of a strong defect does not move out with its height. A
    component without an accepted defect is doubtful where it has the area of one.
    """

    doubt: float
    seed: float
    edge: float
    sigmas: tuple[float, float] = (0.0, 0.0)

    def above(self, noise: float) -> Heights:
        """The same for an image of this noise: doubt and seed at so many (`sigmas`) of its standard deviations at least."""
        doubt, seed = (times * noise for times in self.sigmas)
        return replace(self, doubt=max(self.doubt, doubt), seed=max(self.seed, seed), edge=max(self.edge, seed))

    def split(self, difference: NDArray[np.float64], min_area: int, min_circularity: float) -> Found:
        """Sure and doubtful components of a difference [H,W]; the sure ones are kept as by `keep`."""
        parts, count = ndimage.label(difference > self.doubt, EIGHT)
        if not count:
            return Found(np.zeros(parts.shape, np.uint8), 0, 0)
        peaks = np.append(0.0, ndimage.maximum(difference, parts, range(1, count + 1)))
        level = np.where(peaks > self.seed, np.clip(peaks / 2, self.doubt, max(self.doubt, self.edge)), np.inf)
        sure, accepted = keep(difference > level[parts], min_area, min_circularity)
        doubtful = np.bincount(parts.ravel(), minlength=count + 1) >= min_area
        doubtful[0] = False
        doubtful[parts[sure]] = False
        mask = np.where(doubtful[parts], UNKNOWN, 0).astype(np.uint8)
        mask[sure] = 1
        return Found(mask, accepted, int(doubtful.sum()))
