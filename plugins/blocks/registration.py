"""How far an image's structure lies from that of a picture of the same place without a defect, in pixels.

A periodic structure fits itself after every period, lines after any way along themselves: of all shifts that fit about as well as
the best one the nearest is meant. The normalised cross-correlation over the overlap (Lewis 1995) finds it in whole pixels,
Lucas and Kanade's least squares (1981) the fraction. Where the reference holds no structure above its noise there is nothing to
be off, and where no shift makes the two alike the image shows something else.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.feature import match_template

Real = NDArray[np.float64]
REACH = 4
"""Shifts are looked for up to the side over this."""
STILL = 0.25
"""A least-squares shift below this many pixels needs no search."""
ALIKE = 0.6
"""Least correlation of two pictures of one place, in units of what the reference's noise allows."""
OUTLIER = 6.0
"""A difference that is larger than so many medians of all is left out of the least squares."""
MOVED = 0.5
"""An image that is off by more pixels is shifted."""
STRUCTURE = 0.3
"""Least share of structure in a reference's variance: below it, it shows noise, and nothing can be off."""
LAPLACE = np.outer((1, -2, 1), (1, -2, 1)) / 6
"""Difference of two Laplacians: answers to noise, not to edges (Immerkaer 1996)."""
BLURRED = 0.2821
"""Standard deviation of white noise of 1 after the Gaussian of sigma 1."""

Verdict = Literal["in place", "shifted", "unlike"]


@dataclass(frozen=True)
class Placement:
    """An image's structure lies `shift` (down, right) pixels from where the reference has it; `agreement` is their correlation there."""

    shift: tuple[float, float]
    agreement: float
    verdict: Verdict

    @property
    def distance(self) -> float:
        """Length of the shift in pixels; infinite for an image of something else."""
        return float("inf") if self.verdict == "unlike" else float(np.hypot(*self.shift))

    def __str__(self) -> str:
        if self.verdict == "unlike":
            return f"shows something else (correlation {self.agreement:.2f})"
        down, right = (round(distance, 1) + 0.0 for distance in self.shift)  # + 0.0: no "-0.0"
        return f"is off by {right:+} pixels to the right and {down:+} down"


@dataclass(frozen=True)
class Register:
    """Places images against one reference, grey [H,W]; both blurred. `noise` is the standard deviation of a single picture's noise."""

    reference: Real
    noise: float

    @classmethod
    def of(cls, reference: Real, single: Real) -> Register:
        """From a blurred reference, and one picture [H,W] of its kind that is not blurred, which shows the noise."""
        return cls(reference, BLURRED * float(np.median(np.abs(ndimage.convolve(single, LAPLACE)))) * 1.4826)

    @cached_property
    def clarity(self) -> float:
        """Share of the reference's variance that is structure: what two pictures of one place correlate by."""
        variance = float(self.reference.var())
        return max(0.0, 1 - self.noise**2 / variance) if variance > 1e-9 else 0.0

    @cached_property
    def _slopes(self) -> Real:
        """Slopes of the reference [2,H,W]."""
        return np.stack(np.gradient(self.reference))

    def place(self, image: Real) -> Placement:
        """Where a blurred image [H,W] lies."""
        if self.clarity < STRUCTURE:
            return Placement((0.0, 0.0), 1.0, "in place")
        shift, agreement = self._refined(image, (0.0, 0.0))
        if max(map(abs, shift)) >= STILL or agreement < ALIKE * self.clarity:
            other, better = self._refined(image, self._searched(image))
            if better > agreement + spread(agreement):
                shift, agreement = other, better
        if agreement < ALIKE * self.clarity:
            return Placement(shift, agreement, "unlike")
        return Placement(shift, agreement, "shifted" if np.hypot(*shift) > MOVED else "in place")

    def _searched(self, image: Real) -> tuple[float, float]:
        """The nearest whole shift that fits about as well as the best."""
        reach = tuple(side // REACH for side in image.shape)
        inner = image[tuple(slice(r, side - r) for r, side in zip(reach, image.shape, strict=True))]
        fit = match_template(self.reference, inner)
        places = np.argwhere(fit >= fit.max() - spread(float(fit.max()))) - reach
        down, right = places[np.hypot(*places.T).argmin()]
        return -float(down), -float(right)

    def _refined(self, image: Real, start: tuple[float, float]) -> tuple[tuple[float, float], float]:
        """Least squares from a start: the reference is moved until its slopes explain nothing of the difference any more; and how
        well it fits there. A direction in which it hardly changes, such as along its lines, is left alone.
        """
        shift, near = np.array(start), False
        for _ in range(8):
            there = moved(self.reference, (shift[0], shift[1]))
            slopes = np.stack(np.gradient(there)) if shift.any() else self._slopes
            seen = np.isfinite(slopes).all(0)
            gap, flat = (image - there)[seen], slopes[:, seen]
            if near:  # what still stands out is a defect, not the shift
                close = np.abs(gap - np.median(gap)) <= OUTLIER * np.median(np.abs(gap - np.median(gap)))
                gap, flat = gap[close], flat[:, close]
            step = -np.linalg.pinv(flat @ flat.T, rcond=0.02) @ (flat @ (gap - gap.mean()))
            shift = shift + np.clip(step, -1, 1)
            if near and np.abs(step).max() < 0.02:
                break
            near = near or bool(np.abs(step).max() < STILL)
        found = float(shift[0]), float(shift[1])
        return found, self._agreement(image, found)

    def _agreement(self, image: Real, shift: tuple[float, float]) -> float:
        """Correlation over the overlap."""
        there = moved(self.reference, shift)
        seen = np.isfinite(there)
        one, other = image[seen] - image[seen].mean(), there[seen] - there[seen].mean()
        scale = float(np.linalg.norm(one) * np.linalg.norm(other))
        return float(one @ other) / scale if scale > 0 else 0.0


def spread(agreement: float) -> float:
    """By how much the correlations of two shifts differ that fit as well as each other."""
    return max(0.02, 0.15 * (1 - agreement))


def moved(picture: Real, shift: tuple[float, float]) -> Real:
    """A picture [H,W] moved (down, right) by pixels and their fractions; NaN where it came in from outside, by half a pixel or more."""
    if not any(shift):
        return picture
    lost = [round(distance) for distance in shift]
    inside = tuple(slice(max(0, n), side + min(0, n)) for n, side in zip(lost, picture.shape, strict=True))
    there: Real = np.full(picture.shape, np.nan)
    there[inside] = ndimage.shift(picture, shift, order=3, mode="mirror")[inside]
    return there
