"""Single defects: which of them a mask finds, and what it finds besides.

An image with three defects of which one is found counts as detected; a review counts three. A defect is an 8-connected region of the
truth, found where a region of the prediction touches it. What is predicted and touches no defect is a false alarm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fabloom.kinds.masks import UNKNOWN, is_defect

from .components import EIGHT
from .metrics import Masks, Real

LEVELS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.97, 0.99, 0.997, 0.999)
"""Thresholds that are tried on probabilities, beside the one in use."""
PLANE = np.zeros((3, 3, 3), int)
PLANE[1] = 1
"""Joins the eight neighbours within an image, and nothing between images: one call labels a whole stack."""


@dataclass(frozen=True)
class Defects:
    """All defects of a stack of masks [N,H,W]: `image`, `area` in pixels and `kind` (the largest value of the mask in it), each [D].

    `parts` int32 [N,H,W] holds the number of the defect from 1, 0 elsewhere; `known` is False where nobody can tell.
    """

    image: NDArray[np.int64]
    area: NDArray[np.int64]
    kind: NDArray[np.uint8]
    parts: NDArray[np.int32]
    known: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.area)

    @classmethod
    def of(cls, truth: NDArray[np.uint8]) -> Defects:
        """From masks [N,H,W] of 0, 1..K and 255."""
        parts, image, area = regions(is_defect(truth))
        kind = np.zeros(len(area), np.uint8)
        at = np.flatnonzero(parts)
        np.maximum.at(kind, parts.ravel()[at] - 1, truth.ravel()[at])
        return cls(image, area, kind, parts, truth != UNKNOWN)

    def per_image(self, chosen: NDArray[Any]) -> Real:
        """How many of the chosen [..,D] there are in each image [..,N]."""
        above, images = chosen.shape[:-1], len(self.parts)
        rows = chosen.reshape(int(np.prod(above)), len(self))
        return np.stack([np.bincount(self.image, row, minlength=images) for row in rows]).astype(np.float64).reshape(*above, images)

    def met(self, found: Masks, min_area: int) -> tuple[NDArray[np.bool_], Real]:
        """(which defects are found [D], false alarms of each image [N]) of predicted masks; regions under `min_area` pixels are none."""
        parts, image, area = regions(np.asarray(found, bool) & self.known)
        kept, at = area >= min_area, np.flatnonzero(parts)
        each, true = parts.ravel()[at] - 1, self.parts.ravel()[at]
        hit, touching = np.zeros(len(self), bool), np.zeros(len(area), bool)
        hit[true[(true > 0) & kept[each]] - 1] = True
        touching[each[true > 0]] = True
        return hit, np.bincount(image[kept & ~touching], minlength=len(parts)).astype(np.float64)


def levels_of(threshold: float) -> tuple[float, ...]:
    """`LEVELS` with the one in use among them, rising."""
    return tuple(sorted({*LEVELS, threshold}))


def height(values: NDArray[np.floating[Any]], min_area: int) -> float:
    """The highest value of a map [H,W] at which the pixels that reach it have a region of `min_area` (8-connected).

    Above any threshold below it the image gives an alarm, above it and all higher ones none. The lowest value where no region is as large.
    """
    levels = np.unique(values)
    low, high = 0, len(levels) - 1
    while low < high:  # the region is there up to some level, and nowhere above it
        middle = (low + high + 1) // 2
        parts, _ = ndimage.label(values >= levels[middle], EIGHT)
        there = bool(np.bincount(parts.ravel())[1:].max(initial=0) >= min_area)
        low, high = (middle, high) if there else (low, middle - 1)
    return float(levels[low])


def regions(masks: NDArray[np.bool_]) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64]]:
    """8-connected regions of masks [N,H,W]: their numbers from 1 [N,H,W], the image that each is in, and its area."""
    parts, count = ndimage.label(masks, PLANE)
    at = np.flatnonzero(parts)
    each = parts.ravel()[at] - 1
    image = np.zeros(count, np.int64)
    image[each] = at // max(masks[0].size, 1)
    return parts, image, np.bincount(each, minlength=count)
