"""How the power of images is spread over the band of spatial frequencies: what is blurred lacks it, what is noisy has too much."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from scipy import fft

from .difference import Real

BANDS = ("low_band", "middle_band", "high_band")
"""Thirds of the radial frequencies up to half a cycle a pixel; structure and defects are mostly in the first."""
LOBE = 2
"""Periods across the shorter side below which a frequency is the image's shade, and the window's."""


def power(images: Real) -> Real:
    """Mean power [N,3] of grey images [N,H,W] in the thirds of the radial band, under a Hann window; corners beyond it are left out."""
    height, width = images.shape[-2:]
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    centred = images - (images * window).sum((-2, -1), keepdims=True) / window.sum()
    spectrum = np.square(np.abs(fft.fft2(centred * window))) / np.square(window).sum()
    radius = np.hypot(fft.fftfreq(height)[:, None], fft.fftfreq(width)[None])
    edges = (LOBE / min(height, width), 1 / 6, 1 / 3, 1 / 2)
    rings = [(radius > low) & (radius <= high) for low, high in pairwise(edges)]
    found: Real = np.stack([spectrum[..., ring].mean(-1) for ring in rings], -1)
    return found


def bands(images: Real, unit: Real) -> dict[str, Real]:
    """Power of grey images [N,H,W] in each third over that of one picture [H,W]: ratios [N]; no third in which that has none."""
    own, found = power(unit[None])[0], power(images)
    return {name: found[:, index] / own[index] for index, name in enumerate(BANDS) if own[index] > 0}


def ratios(images: Real, real: Real) -> dict[str, float]:
    """Mean power of grey images [N,H,W] in each third over that of real ones [M,H,W]; no third in which those have none."""
    own, found = power(real).mean(0), power(images).mean(0)
    return {name: float(found[index] / own[index]) for index, name in enumerate(BANDS) if own[index] > 0}
