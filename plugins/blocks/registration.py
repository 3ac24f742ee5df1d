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
WINDOW = 512
"""A larger frame is placed by a part of it with this side in pixels."""
REACH = 4
"""Shifts are looked for up to the side over this."""
STILL = 0.25
"""A least-squares shift below this many pixels needs no search."""
ALIKE = 0.6
"""Least correlation of two pictures of one place, in units of what the reference's noise allows."""
DIM = 0.02
"""A direction in which the square of the slopes is below this share of the other's tells nothing of a shift, such as along lines."""
OUTLIER = 6.0
"""A difference that is larger than so many medians of all is left out of the least squares."""
SURE = 0.9
"""A correlation, in the same units, that needs no search for a better one."""
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
        return slopes_of(self.reference)

    @cached_property
    def _window(self) -> tuple[slice, slice]:
        """The part of a large frame that is looked at: of those half a window apart the one whose slopes tell most in both directions."""
        starts = [range(0, max(1, side - WINDOW + 1), WINDOW // 2) for side in self.reference.shape]

        def tells(window: tuple[slice, slice]) -> float:
            flat = self._slopes[:, *window].reshape(2, -1)
            least, most = np.linalg.eigvalsh(flat @ flat.T)
            return float(least + DIM * most)

        return max(((slice(y, y + WINDOW), slice(x, x + WINDOW)) for y in starts[0] for x in starts[1]), key=tells)

    @cached_property
    def _part(self) -> Register:
        """The same for the window alone."""
        return Register(self.reference[self._window], self.noise)

    def place(self, image: Real) -> Placement:
        """Where a blurred image [H,W] lies."""
        if self.clarity < STRUCTURE:
            return Placement((0.0, 0.0), 1.0, "in place")
        shift, agreement = self._found(image)
        if agreement < ALIKE * self.clarity:
            return Placement(shift, agreement, "unlike")
        return Placement(shift, agreement, "shifted" if np.hypot(*shift) > MOVED else "in place")

    def _found(self, image: Real) -> tuple[tuple[float, float], float]:
        """The shift, and how well it fits; of a large frame by its window."""
        if max(self.reference.shape) > WINDOW and self._part.clarity >= STRUCTURE:
            shift, _ = self._part._found(image[self._window])
            return shift, self._agreement(image, shift)
        shift, agreement = self._still(image), self._agreement(image, (0.0, 0.0))
        if max(map(abs, shift)) < STILL and agreement >= SURE * self.clarity:
            return shift, agreement
        shift, agreement = self._refined(image, (0.0, 0.0))
        if agreement < SURE * self.clarity:
            other, better = self._refined(image, self._searched(image))
            if better > agreement + spread(agreement):
                return other, better
        return shift, agreement

    def _still(self, image: Real) -> tuple[float, float]:
        """Least squares of a small shift at once; what still stands out then is a defect and is left out of them the second time."""
        gap, flat = (image - self.reference).ravel(), self._slopes.reshape(2, -1)
        shift = least_squares(flat, gap)
        if np.abs(shift).max() > 2 * STILL:
            return float(shift[0]), float(shift[1])
        kept = close(gap + shift @ flat, flat)
        down, right = least_squares(flat[:, kept], gap[kept])
        return float(down), float(right)

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
            there = self._moved((shift[0], shift[1]))
            slopes = slopes_of(there) if shift.any() else self._slopes
            seen = np.isfinite(slopes).all(0)
            gap, flat = (image - there)[seen], slopes[:, seen]
            kept = close(gap, flat) if near else slice(None)
            step = least_squares(flat[:, kept], gap[kept])
            shift = shift + np.clip(step, -1, 1)
            if near and np.abs(step).max() < 0.02:
                break
            near = near or bool(np.abs(step).max() < STILL)
        found = float(shift[0]), float(shift[1])
        return found, self._agreement(image, found)

    @cached_property
    def _spline(self) -> Real:
        """Spline coefficients of the reference."""
        return spline_of(self.reference)

    def _moved(self, shift: tuple[float, float]) -> Real:
        return moved(self.reference, shift, self._spline) if any(shift) else self.reference

    def _agreement(self, image: Real, shift: tuple[float, float]) -> float:
        """Correlation over the overlap."""
        there = self._moved(shift)
        seen = np.isfinite(there)
        one, other = image[seen] - image[seen].mean(), there[seen] - there[seen].mean()
        scale = float(np.linalg.norm(one) * np.linalg.norm(other))
        return float(one @ other) / scale if scale > 0 else 0.0


def slopes_of(picture: Real) -> Real:
    """Slopes down and right [2,H,W]."""
    return np.stack([np.gradient(picture, axis=0), np.gradient(picture, axis=1)])


def spread(agreement: float) -> float:
    """By how much the correlations of two shifts differ that fit as well as each other."""
    return max(0.02, 0.15 * (1 - agreement))


def least_squares(slopes: Real, gap: Real) -> Real:
    """The step (down, right) of the reference that explains most of the difference [P], by its slopes [2,P]."""
    step: Real = -np.linalg.pinv(slopes @ slopes.T, rcond=DIM) @ (slopes @ (gap - gap.mean()))
    return step


def close(gap: Real, slopes: Real) -> NDArray[np.bool_]:
    """Differences [P] that are no outliers among those at the structure's edges, where its slopes [2,P] are steep."""
    steepness = np.square(slopes).sum(0)
    away = np.abs(gap - np.median(gap))
    kept: NDArray[np.bool_] = away <= OUTLIER * np.median(away[steepness >= steepness.mean()])
    return kept


def spline_of(picture: Real) -> Real:
    """Coefficients of the cubic spline through a picture [H,W]."""
    found: Real = ndimage.spline_filter(picture, 3, mode="mirror")
    return found


def moved(picture: Real, shift: tuple[float, float], spline: Real | None = None) -> Real:
    """A picture [H,W] moved (down, right) by pixels and their fractions; NaN where it came in from outside, by half a pixel or more.

    `spline` is what `spline_of` gives of it, for who moves it again and again.
    """
    if not any(shift):
        return picture
    lost = [round(distance) for distance in shift]
    inside = tuple(slice(max(0, n), side + min(0, n)) for n, side in zip(lost, picture.shape, strict=True))
    there: Real = np.full(picture.shape, np.nan)
    there[inside] = ndimage.shift(spline_of(picture) if spline is None else spline, shift, order=3, mode="mirror", prefilter=False)[inside]
    return there
