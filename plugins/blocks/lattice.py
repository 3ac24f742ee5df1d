"""The spatial frequency of a periodic structure, and its phase as a map."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import fft, ndimage, optimize
from torch import Tensor

Real = NDArray[np.float64]
PERIODS = 3
"""Fewest periods across the image: a slower variation is a shade, not a lattice."""
SHARE = 0.15
"""Least share of the image's power (without its mean) that the peak of a lattice holds, its own window's main lobe included."""
SECOND = 0.2
"""A second direction belongs to the lattice where its peak has at least this share of the first one's height."""
COLLINEAR = 0.5
"""Directions whose angle has a smaller sine than this are one."""


@dataclass(frozen=True)
class Lattice:
    """Spatial frequencies in cycles a pixel, (y, x) each: one for lines, two for contact holes, none for no structure."""

    frequencies: tuple[tuple[float, float], ...]

    @classmethod
    def fit(cls, image: Real) -> Lattice:
        """From a grey image [H,W]: the strongest peaks of its spectrum under a Hann window, refined to a fraction of a bin.

        Empty where no peak of at least three periods holds 15 % of the power.
        """
        height, width = image.shape
        window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
        windowed = (image - np.average(image, weights=window)) * window
        power = np.square(np.abs(fft.fft2(windowed)))
        rows, columns = fft.fftfreq(height)[:, None], fft.fftfreq(width)[None]
        allowed = np.hypot(rows, columns) * min(height, width) >= PERIODS
        found: list[tuple[float, float]] = []
        first = 0.0
        while len(found) < 2:
            left = np.where(allowed, power, 0)
            peak = np.unravel_index(int(left.argmax()), left.shape)
            lobe = _lobe(power, peak)
            # a slope of a slower variation is no peak of its own
            if left.max() < lobe.max() or (not found and 2 * lobe.sum() < max(SHARE * power.sum(), 1e-12 * power.size)):
                break
            if left.max() < SECOND * first:
                break
            first = first or float(left.max())
            found.append(_refined(windowed, (float(rows[peak[0], 0]), float(columns[0, peak[1]]))))
            fy, fx = found[-1]
            # what lies in the same direction is a harmonic or the peak's own lobe, not a second direction
            sine = np.abs(rows * fx - columns * fy) / np.maximum(np.hypot(rows, columns) * np.hypot(fy, fx), 1e-12)
            allowed &= sine > COLLINEAR
        return cls(tuple(found))

    def repeats(self, image: Real) -> float:
        """Correlation of a grey image [H,W] with itself moved by one period, the least of all directions; 0 without structure.

        Near 1 for a lattice; a few bars at some distance have a strongest frequency, but do not repeat.
        """
        soft = ndimage.gaussian_filter(image, 1, mode="mirror")
        found = []
        for frequency in np.array(self.frequencies):
            step = frequency / (frequency @ frequency)
            moved = ndimage.shift(soft, step, order=1, mode="constant", cval=np.nan)
            both = np.isfinite(moved)
            found.append(float(np.corrcoef(soft[both], moved[both])[0, 1]))
        return min(found, default=0.0)

    @property
    def period(self) -> float | None:
        """Distance of neighbouring lines in pixels, along the first direction; None without structure."""
        return 1 / float(np.hypot(*self.frequencies[0])) if self.frequencies else None

    def phase(self, size: tuple[int, int], zoom: tuple[float, float] = (1.0, 1.0)) -> Tensor:
        """cos and sin of 2 pi f r [2K,*size], float32; r are pixel centres times `zoom` (pixels of the fitted image a pixel)."""
        y = (torch.arange(size[0], dtype=torch.float64) + 0.5) * zoom[0]
        x = (torch.arange(size[1], dtype=torch.float64) + 0.5) * zoom[1]
        turns = [2 * torch.pi * (fy * y[:, None] + fx * x[None]) for fy, fx in self.frequencies]
        return torch.stack([wave for turn in turns for wave in (turn.cos(), turn.sin())]).float()


def _lobe(power: Real, peak: tuple[np.intp, ...]) -> Real:
    """Power of a peak and its neighbours two bins around, which the window spreads it over; its mirror image has as much."""
    near = np.arange(-2, 3)
    lobe: Real = power[np.ix_((peak[0] + near) % power.shape[0], (peak[1] + near) % power.shape[1])]
    return lobe


def _refined(windowed: Real, start: tuple[float, float]) -> tuple[float, float]:
    """The frequency between the bins at which the windowed image's spectrum is strongest."""
    y, x = np.arange(windowed.shape[0]), np.arange(windowed.shape[1])

    def weakness(frequency: Real) -> float:
        waves = np.exp(-2j * np.pi * frequency[0] * y), np.exp(-2j * np.pi * frequency[1] * x)
        return -float(np.abs(waves[0] @ windowed @ waves[1]))

    bins = 0.5 / np.array(windowed.shape)
    simplex = np.array(start) + np.array([[0, 0], [bins[0], 0], [0, bins[1]]])
    options = {"initial_simplex": simplex, "xatol": 1e-7, "fatol": 1e-9}
    found = optimize.minimize(weakness, np.array(start), method="Nelder-Mead", options=options)
    return float(found.x[0]), float(found.x[1])
