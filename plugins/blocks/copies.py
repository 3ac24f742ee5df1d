"""How near images are to each of several others: the least difference over shifts, by matrix products."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]
ROUNDING = (2 / 12) ** 0.5
"""By what two images differ that were rounded to whole grey levels; no second acquisition is nearer."""
PIXELS = 2**22
"""Of images that are compared at once."""


def least_differences(images: Real, references: Real, reach: int) -> Real:
    """Root mean square differences [N,R] of images [N,H,W] to references [R,H,W], each the least over shifts up to `reach` pixels either
    way, over what overlaps.

    |a - b|^2 = |a|^2 - 2 a b + |b|^2, so that the pairs of a shift are one product of two matrices.
    """
    middle = float(references.mean())  # common to all; taken off, nothing cancels
    rows = max(PIXELS // references[0].size, 1)
    parts = [images[start : start + rows] - middle for start in range(0, len(images), rows)]
    return np.concatenate([_least(part, references - middle, reach) for part in parts])


def _least(images: Real, references: Real, reach: int) -> Real:
    height, width = references.shape[1:]
    best = np.full((len(images), len(references)), np.inf)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            ours = images[:, max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)].reshape(len(images), -1)
            theirs = references[:, max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)].reshape(len(references), -1)
            lengths = [np.einsum("np,np->n", one, one) for one in (ours, theirs)]
            gap = lengths[0][:, None] + lengths[1] - 2 * ours @ theirs.T
            best = np.minimum(best, gap / ours.shape[1])
    least: Real = np.sqrt(np.maximum(best, 0))
    return least
