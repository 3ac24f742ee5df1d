"""The scan: a spot that blurs, lines that jitter, charge that builds up, electrons that are counted."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, cos, pi, sin

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, special

from .frame import MARGIN, Frame, Real
from .params import SimulateParams


@dataclass(frozen=True)
class Scan:
    """How one image is scanned: `shifts` [size] of its lines in pixels, `charge` [size,size] added to the brightness."""

    frame: Frame
    blur: float
    shifts: Real
    charge: Real

    @classmethod
    def draw(cls, params: SimulateParams, frame: Frame, rng: np.random.Generator) -> Scan:
        """Independent shifts, and a charge that rises evenly in any direction, by up to `charging` from border to border."""
        shifts = rng.standard_normal(frame.size) * params.jitter
        angle, rise = rng.uniform(0, 2 * pi), rng.uniform(0, params.charging)
        place = (np.arange(frame.size) + 0.5) / frame.size - 0.5
        return cls(frame, params.blur, shifts, rise * (sin(angle) * place[:, None] + cos(angle) * place))

    def image(self, tone: Real) -> Real:
        """Brightness [size,size] as scanned: the spot's Gaussian, sampled along shifted lines (cubic spline), and the charge."""
        seen = spotted(tone, self.blur)
        lines = seen[MARGIN:-MARGIN]
        if self.shifts.any():
            column = np.arange(self.frame.size) + MARGIN + self.shifts[:, None]
            row = np.broadcast_to(np.arange(self.frame.size)[:, None], column.shape)
            curved = ndimage.spline_filter1d(lines, 3, axis=1, mode="mirror")
            lines = _along_rows(curved, row, column)
        else:
            lines = lines[:, MARGIN:-MARGIN]
        return lines + self.charge


def spotted(tone: Real, blur: float) -> Real:
    """Brightness through a Gaussian spot of std `blur` that dwells on the centre of each pixel; pixels are even inside."""
    if not blur:
        return tone
    reach = ceil(3 * blur)
    taps = np.diff(special.ndtr((np.arange(-reach, reach + 2) - 0.5) / blur))
    taps /= taps.sum()
    seen: Real = ndimage.convolve1d(ndimage.convolve1d(tone, taps, axis=0, mode="nearest"), taps, axis=1, mode="nearest")
    return seen


def _along_rows(curved: Real, row: NDArray[np.int64], column: Real) -> Real:
    """Values of cubic splines along rows, given by their coefficients, at columns."""
    whole = np.floor(column).astype(np.int64)
    part = column - whole
    rest = 1 - part
    weights = (rest**3 / 6, 2 / 3 - part**2 * (1 + rest) / 2, 2 / 3 - rest**2 * (1 + part) / 2, part**3 / 6)
    found: Real = sum((weight * curved[row, whole + step] for step, weight in enumerate(weights, start=-1)), np.zeros(column.shape))
    return found


def counted(grey: Real, params: SimulateParams, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The picture: Poisson counts of electrons, the detector's Gaussian noise, rounded and clipped to 0..255."""
    if params.dose is not None:
        each = params.grey_high / params.dose
        grey = rng.poisson(grey.clip(0) / each).astype(np.float64) * each
    return np.rint(grey + rng.standard_normal(grey.shape) * params.noise_std).clip(0, 255).astype(np.uint8)
