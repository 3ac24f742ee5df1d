"""Maps behind a Gaussian, over all of an image or over the part of it where anything is."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Maps = NDArray[np.float64]


def smoothed(values: Maps, sigma: float, there: NDArray[np.bool_] | None = None) -> Maps:
    """Maps [B,H,W] behind a Gaussian of `sigma` pixels; with `there` [B,H,W] means of what is there alone, and 0 elsewhere.

    What is not there has no part in a mean, in place of counting as 0 (normalised convolution, Knutsson & Westin 1993).
    """
    if not sigma:
        return values
    if there is not None:
        mass = smoothed(there.astype(np.float64), sigma)
        return np.where(there, smoothed(values * there, sigma) / np.where(there, mass, 1), 0)
    found: Maps = ndimage.gaussian_filter(values, (0, sigma, sigma), mode="mirror")
    return found
