"""A threshold for maps of distances: what the stated share of clean images exceeds, from clean images that nothing was learned from.

An alarm is a region of some least area above the threshold, as a segmenter reports one; an image's height is the highest threshold at
which it gives one. Of n held-out heights the one of rank ceil((n + 1) (1 - rate)) is exceeded by a new image with a chance of at most
`rate`, whatever their law (split conformal; Vovk et al. 2005). Where n is too small for that rank, heights are taken to follow the law
of largest values (Gumbel 1958), whose location and scale their mean and deviation give.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import remove_small_objects

from .components import EIGHT

Maps = NDArray[np.floating[Any]]
EULER = 0.5772156649
LEAST = 1e-6
"""Smallest threshold: clean images may be equal but for a pixel."""
NEAR = 6
"""Pixels within which a strong defect is seen beside itself."""


@dataclass(frozen=True)
class Chosen:
    """A distance, and how it was chosen."""

    distance: float
    why: str
    facts: dict[str, Any]

    def as_dict(self, min_area: int) -> dict[str, Any]:
        """For the config of a model; `min_area` are the fewest pixels of an alarm."""
        return {"chosen": True, "why": self.why, "min_area": min_area, **self.facts}


def choose(heights: NDArray[np.float64], rate: float) -> Chosen:
    """From the heights of held-out clean images [n]."""
    count = len(heights)
    rank = math.ceil((count + 1) * (1 - rate) - 1e-9)
    facts = {"false_alarms": rate, "clean_images": count, "extrapolated": rank > count}
    if rank <= count:
        found = max(float(np.sort(heights)[rank - 1]), LEAST)
        above = int((heights > found).sum())
        return Chosen(found, f"{above} of {count} held-out clean images lie above it ({rate:.2g} of them may)", facts)
    scale = float(heights.std(ddof=1)) * math.sqrt(6) / math.pi
    reached = float(heights.mean()) - EULER * scale - scale * math.log(-math.log1p(-rate))
    found = max(reached, float(heights.max()), LEAST)
    wanted = math.ceil(1 / rate - 1e-9) - 1
    return Chosen(
        found, f"{count} held-out clean images do not show a rate of {rate:.2g} (that takes {wanted}): it follows from the law of largest "
        "values, fitted to them", facts,
    )  # fmt: skip


def outlined(values: Maps, limit: float, min_area: int, share: float, reach: float = 1.0) -> NDArray[np.bool_]:
    """The mask [H,W] of a map of distances: regions above the limit that are large enough, each as far as it stays above `reach` of the
    limit, and of that the part that is at least `share` of the largest value within `NEAR` pixels.
    """
    large: NDArray[np.bool_] = remove_small_objects(values > limit, max_size=min_area - 1, connectivity=2)
    if not large.any():
        return large
    if reach < 1:
        parts, _ = ndimage.label(values > reach * limit, EIGHT)
        large = np.isin(parts, np.unique(parts[large]))
    if not share:
        return large
    near: NDArray[np.bool_] = large & (values >= share * ndimage.maximum_filter(values, 2 * NEAR + 1))
    return near


def scores(maps: Maps, threshold: float) -> NDArray[np.float16]:
    """Distances as d / (d + t): 0 at 0, 0.5 at the threshold t, rising towards 1; so slowly that half precision tells 30 t from 31 t."""
    values = maps.astype(np.float64)
    found: NDArray[np.float16] = (values / (values + threshold)).astype(np.float16)
    return found
