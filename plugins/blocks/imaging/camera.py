"""The camera: intensity to grey levels, correlated noise, eight bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Real = NDArray[np.float64]
TAPS = np.array([1.0, 0.632, 0.298])
"""Filter of white noise along each axis: autocorrelation 0.55 at a distance of one pixel, 0.20 at two, 0 beyond.

These are the correlations of published line-pair simulations; each axis has a filter of its own, so corners have the product.
"""


@dataclass(frozen=True)
class Camera:
    """Maps the intensities [dark, bright] of the ideal clean pattern to the grey levels [low, high]."""

    dark: float
    bright: float
    low: float
    high: float
    noise_std: float

    def grey(self, intensity: Real) -> Real:
        """Noise-free grey levels, not rounded and not clipped."""
        return self.low + (intensity - self.dark) * ((self.high - self.low) / (self.bright - self.dark))

    def expose(self, grey: Real, rng: np.random.Generator) -> NDArray[np.uint8]:
        """The picture: noise added, rounded, clipped to 0..255."""
        reach = len(TAPS) - 1
        white = rng.standard_normal((grey.shape[0] + reach, grey.shape[1] + reach))
        taps = TAPS / np.linalg.norm(TAPS)
        for axis in (0, 1):
            white = ndimage.convolve1d(white, taps, axis=axis)
        noise = white[1:-1, 1:-1] * self.noise_std
        return np.rint(grey + noise).clip(0, 255).astype(np.uint8)
