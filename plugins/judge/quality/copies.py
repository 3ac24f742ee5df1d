"""Is a generated image new, or a copy of the reference? Least difference over shifts, in units of the scene's own noise.

Let two acquisitions of one scene have independent noise of deviation s. They differ by the floor, sqrt(2) s. An image that
shows the scene with a share a of the reference's own noise and independent noise m differs from the reference by
sqrt((1 - a)^2 s^2 + m^2): 0 for a copy, 1 / sqrt(2) = 0.71 floors for the scene without any noise (a = m = 0), 1 for another
acquisition (a = 0, m = s). Below 0.71 part of the reference's own noise must have been learnt by heart; the limit of 0.6 leaves
15 % for the error of the floor and for a clean image that is noisier than the reference.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from fabloom.plugins.blocks.difference import Real

ROUNDING = (2 / 12) ** 0.5
"""By what two images differ that were rounded to whole grey levels; no floor is lower."""
CLIP = 3.0
"""Deviations beyond which a difference belongs to the defect. A median would do as well, but not on whole grey levels."""


def noise_floor(reference: Real, clean: Real | None) -> float:
    """Deviation of the difference between the reference [H,W] and a clean image of the scene, the defect clipped away.

    Without a clean image only what rounding makes: then none but near-verbatim copies are recognised.
    """
    if clean is None:
        return ROUNDING
    return max(float(stats.sigmaclip(reference - clean, CLIP, CLIP).clipped.std()), ROUNDING)


def least_difference(images: Real, reference: Real, reach: int) -> Real:
    """Root mean square difference [N] of images [N,H,W] to the reference [H,W], least over shifts up to `reach`; overlap only."""
    height, width = reference.shape
    images, reference = images.astype(np.float32), reference.astype(np.float32)
    best = np.full(len(images), np.inf)
    for dy in range(-reach, reach + 1):
        for dx in range(-reach, reach + 1):
            ours = images[:, max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)]
            theirs = reference[max(-dy, 0) : height + min(-dy, 0), max(-dx, 0) : width + min(-dx, 0)]
            gap = ours - theirs
            best = np.minimum(best, np.einsum("nij,nij->n", gap, gap, dtype=np.float64) / theirs.size)
    least: Real = np.sqrt(best)
    return least
