"""Is a generated image new, or a copy of the reference? Least difference over shifts, in units of the scene's own noise.

Let two acquisitions of one scene have independent noise of deviation s. They differ by the floor, sqrt(2) s. An image that
shows the scene with a share a of the reference's own noise and independent noise m differs from the reference by
sqrt((1 - a)^2 s^2 + m^2): 0 for a copy, 1 / sqrt(2) = 0.71 floors for the scene without any noise (a = m = 0), 1 for another
acquisition (a = 0, m = s). Below 0.71 part of the reference's own noise must have been learnt by heart; the limit of 0.6 leaves
15 % for the error of the floor and for a clean image that is noisier than the reference.
"""

from __future__ import annotations

from scipy import stats

from fabloom.plugins.blocks.copies import ROUNDING
from fabloom.plugins.blocks.difference import Real

CLIP = 3.0
"""Deviations beyond which a difference belongs to the defect. A median would do as well, but not on whole grey levels."""


def noise_floor(reference: Real, clean: Real | None) -> float:
    """Deviation of the difference between the reference [H,W] and a clean image of the scene, the defect clipped away.

    Without a clean image only what rounding makes: then none but near-verbatim copies are recognised.
    """
    if clean is None:
        return ROUNDING
    return max(float(stats.sigmaclip(reference - clean, CLIP, CLIP).clipped.std()), ROUNDING)
