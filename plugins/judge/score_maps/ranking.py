"""Whole images: does a map score images with a defect higher than clean ones?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]
TOP = 0.005
"""Share of an image's pixels, the highest ones, whose mean is the image's score: one pixel alone may be noise."""


def image_scores(scores: NDArray[np.float32]) -> Real:
    """Mean of the highest pixels of maps [N,H,W], one pixel at least: [N]."""
    flat = scores.reshape(len(scores), -1).astype(np.float64)
    count = max(1, round(TOP * flat.shape[1]))
    found: Real = np.partition(flat, -count, axis=1)[:, -count:].mean(1)
    return found


def auroc(values: Real, defect: NDArray[np.bool_], groups: NDArray[np.int64], weights: Real) -> Real:
    """Chance [R] that an image with a defect has a higher value than a clean one, equal ones counting half.

    Values [N] of images, each of a source (`groups`), with so many copies [R,G] of each; NaN where either kind is missing.
    """
    each = weights[:, groups]
    above = (values[defect][:, None] > values[~defect]) + 0.5 * (values[defect][:, None] == values[~defect])
    first, second = each[:, defect], each[:, ~defect]
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Real = ((first @ above) * second).sum(1) / (first.sum(1) * second.sum(1))
    return found
