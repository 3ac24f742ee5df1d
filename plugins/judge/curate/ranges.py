"""The range of the real images: what the patches of an image look like, in numbers, and how far these go in the real ones.

Of each patch of `side` x `side` pixels five numbers that need no network: the mean (brightness), the standard deviation (contrast), the
root mean square difference of neighbouring pixels down and right (gradients: edges and their direction, blur, noise) and the correlation of
neighbours, 1 - mean squared difference / (2 variance): 1 smooth, 0 white noise. Of each number the quantiles 0.1, 0.5, 0.9 over the patches
of an image: no extremes, so that a defect, which is what the images are wanted for, puts none out of range; a wrong structure, blur,
another brightness or noise does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Real = NDArray[np.float64]
NAMES = ("brightness", "contrast", "gradient down", "gradient right", "correlation")
QUANTILES = (0.1, 0.5, 0.9)
FLOOR = np.array([1.0, 1.0, 1.0, 1.0, 0.05])
"""Grey levels, and correlation, that are no difference: patches of a real image count as at least so far apart."""
CHANCE = 2.83
"""Three deviations of the difference of two quantiles 0.1 of n normal values, times sqrt(n), in distances of their quantiles 0.1 and 0.9:
3 sqrt(2) sqrt(0.1 x 0.9) / (0.1755 x 2.563)."""
PIXELS = 2**22
"""Of patches that are looked at at once."""


@dataclass(frozen=True)
class Range:
    """Lowest and highest quantile [5,3] of each number."""

    low: Real
    high: Real

    @classmethod
    def of(cls, real: Real, tolerance: float, patches: float) -> Self:
        """From the numbers of the real images [N,5,3]: the least and the largest, widened by `tolerance` of how far the patches of one real
        image lie apart (0.1 to 0.9, the median over images), so that a single real image has a range too; and by what chance makes of so
        few patches: as many as lie in an image side by side.
        """
        apart = np.maximum(np.median(real[:, :, -1] - real[:, :, 0], axis=0), FLOOR)
        room = (tolerance + CHANCE / np.sqrt(patches)) * apart[:, None]
        return cls(real.min(0) - room, real.max(0) + room)

    def leaves(self, numbers: Real) -> NDArray[np.bool_]:
        """Which number [N,5] of images [N,5,3] lies outside, at any quantile."""
        found: NDArray[np.bool_] = np.any((numbers < self.low) | (numbers > self.high), axis=2)
        return found


def side_by_side(images: Real, side: int) -> float:
    """How many patches of that side an image of [N,H,W] holds."""
    height, width = int(images.shape[1]), int(images.shape[2])
    return max(height / side, 1.0) * max(width / side, 1.0)


def numbers(images: Real, side: int) -> Real:
    """The quantiles [N,5,3] of the five numbers of the patches of grey images [N,H,W]; patches are half a side apart."""
    side = min(side, *images.shape[1:])
    step = max(side // 2, 1)
    rows = max(PIXELS // (images[0].size * 4), 1)
    return np.concatenate([_numbers(images[start : start + rows], side, step) for start in range(0, len(images), rows)])


def _numbers(images: Real, side: int, step: int) -> Real:
    patches = sliding_window_view(images, (side, side), (1, 2))[:, ::step, ::step].reshape(len(images), -1, side, side)
    variance = patches.var((2, 3))
    squares = [np.square(np.diff(patches, axis=axis)).mean((2, 3)) for axis in (2, 3)]
    alike = np.where(variance > 0, 1 - (squares[0] + squares[1]) / (4 * np.maximum(variance, 1e-12)), 1.0)
    each = np.stack([patches.mean((2, 3)), np.sqrt(variance), *np.sqrt(squares), alike], 1)
    found: Real = np.quantile(each, QUANTILES, axis=2).transpose(1, 2, 0)
    return found
