"""What registered, shifted or unrelated images have in common: a lattice, a shift between them, symmetry under flips."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.registration import phase_cross_correlation

from fabloom.kinds import LazyArray
from fabloom.method.survey import ALIKE, REGISTERED, Structure

from .difference import blur
from .lattice import Lattice
from .sites import steps_of

Real = NDArray[np.float64]
LARGEST = 512
"""Sides of the middle part that is looked at of larger images."""
BLUR = 1.5
"""Pixels (sigma) by which noise is averaged out before images are compared."""
SLOW = 3
"""A side over this is the width over which an image is averaged to its lighting, which is taken off before images are compared."""
REPEATS = 0.95
"""Least correlation of an image with itself after a cyclic shift under which it looks the same."""
CONTRAST = 0.3
"""Share of a reference's contrast by which a pixel differs; the rule that labels begins there too."""
WANDERING = 0.05
"""Least share of edge pixels that differ where edges lie elsewhere all over."""
REACH = 3
"""Largest way of edges that is looked for."""
PLANE = np.zeros((3, 3, 3), int)
PLANE[1] = 1
"""Eight neighbours in the same image of a stack [N,H,W]."""
PITCHES, SAME_PITCH = 5, 0.1
"""Images whose period is looked for, and by what share of it it may differ to be one."""
ROUND = 512
"""Longest side of images of which cyclic shifts are tried."""


def look(images: Sequence[Real], references: Sequence[Real] | None = None) -> Structure:
    """Structure of grey images [H,W] of one size; with `references`, each image is held against its own."""
    near = [blurred(middle(image)) for image in images]
    others = None if references is None else [blurred(middle(one)) for one in references]
    pairs = list(pairwise(near)) if others is None else list(zip(near, others, strict=True))
    compared = [aligned(one, other) for one, other in pairs]
    likeness = float(np.median([found for found, _ in compared])) if compared else None
    shift = float(np.median([moved for _, moved in compared])) if compared else None
    still = likeness is not None and likeness >= ALIKE and shift is not None and shift <= REGISTERED and references is None
    typical = np.median(near, axis=0) if still else near[0]
    shown = middle(np.median(images, axis=0) if still else images[0])
    lattice = Lattice.fit(shown)
    steps = steps_of(shown, lattice)
    period = float(np.hypot(*steps[0])) if steps else lattice.period
    across, down = (symmetry(near, typical if still else None, likeness if references is None else None, axis) for axis in (1, 0))
    step_x, step_y = (repeat(np.median(images, axis=0), axis) if still else 0 for axis in (1, 0))
    edge = wander(images, references) if references is not None and likeness is not None and likeness >= ALIKE else 0
    return Structure(period, len(lattice.frequencies), likeness, shift, across, down, step_x, step_y, edge, steps)


def pitch(images: LazyArray) -> float | None:
    """The shortest period in pixels of some of the images [N,C,H,W]; None where not all of them have one, or not the same one."""
    found = []
    for row in np.unique(np.linspace(0, len(images) - 1, PITCHES).round().astype(int)).tolist():
        shown = middle(np.asarray(images[row]).mean(0, dtype=np.float64))
        steps = steps_of(shown, Lattice.fit(shown))
        if not steps:
            return None
        found.append(min(float(np.hypot(*step)) for step in steps))
    usual = float(np.median(found))
    return round(usual, 2) if max(abs(one / usual - 1) for one in found) <= SAME_PITCH else None


def middle(image: Real) -> Real:
    """The middle part of an image, at most LARGEST on a side."""
    top, left = (max(side - LARGEST, 0) // 2 for side in image.shape)
    return image[top : top + LARGEST, left : left + LARGEST]


def blurred(image: Real) -> Real:
    """Without its noise and its lighting."""
    found: Real = ndimage.gaussian_filter(image, BLUR) - ndimage.uniform_filter(image, max(min(image.shape) // SLOW, 5))
    return found


def correlation(one: Real, other: Real) -> float:
    """Pearson's correlation of two images; 0 where one is constant."""
    one, other = one - one.mean(), other - other.mean()
    norm = float(np.sqrt((one * one).sum() * (other * other).sum()))
    return float((one * other).sum()) / norm if norm > 1e-9 * one.size else 0.0


def aligned(one: Real, other: Real) -> tuple[float, float]:
    """(correlation after the best shift, its length in pixels) of two images of one size.

    No shift is better than one that gains nothing: along a lattice every period aligns as well.
    """
    stay = correlation(one, other)
    shift = phase_cross_correlation(one - one.mean(), other - other.mean(), normalization=None)[0]
    found = overlapped(one, other, np.rint(shift).astype(int))
    return (found, float(np.hypot(*shift))) if found > stay + 0.02 else (stay, 0.0)


def overlapped(one: Real, other: Real, shift: NDArray[np.int_]) -> float:
    """Correlation of one image with the other moved down and right by `shift`, where both are; at least a quarter of the image."""
    parts: list[Real] = []
    for image, way in ((one, 1), (other, -1)):
        starts = [max(way * moved, 0) for moved in shift.tolist()]
        rows, columns = (
            slice(start, start + side - abs(moved)) for start, side, moved in zip(starts, image.shape, shift.tolist(), strict=True)
        )
        parts.append(image[rows, columns])
    return correlation(*parts) if 4 * parts[0].size >= one.size else -1.0


def symmetry(images: Sequence[Real], typical: Real | None, likeness: float | None, axis: int) -> float:
    """What is left of the likeness when images are mirrored along an axis, at most 1.

    Of images that are alike: the correlation with the mirrored one over that with the plain one. Of others, where only the texture can
    be the same: how near the mirrored histogram of slopes is, over how near that of another image (or of the other half) is.
    """
    if typical is not None:
        return min(aligned(typical, np.flip(typical, axis))[0], 1.0)
    if likeness is not None and likeness >= ALIKE:
        found = [aligned(one, np.flip(other, axis))[0] for one, other in pairwise(images)]
        return min(float(np.median(found)) / likeness, 1.0)
    own = [slopes(image) for image in images]
    mirrored = [slopes(np.flip(image, axis)) for image in images]
    if len(images) == 1:
        halves = np.array_split(images[0], 2, axis=int(images[0].shape[1] >= images[0].shape[0]))
        between = [distance(*(slopes(half) for half in halves))]
    else:
        between = [distance(a, b) for a, b in pairwise(own)]
    gap = float(np.median([distance(a, b) for a, b in zip(own, mirrored, strict=True)]))
    return min(float(np.median(between) + 0.05) / max(gap, 1e-9), 1.0)


def slopes(image: Real) -> Real:
    """Histogram of the directions of the grey slope over the full turn, weighted by its steepness; sums to 1."""
    down, right = np.gradient(image)
    steep = np.hypot(down, right)
    found, _ = np.histogram(np.arctan2(down, right), bins=24, range=(-np.pi - np.pi / 24, np.pi - np.pi / 24 + 1e-9), weights=steep)
    found[0] += steep[np.arctan2(down, right) > np.pi - np.pi / 24].sum()
    total: Real = found / max(found.sum(), 1e-12)
    return total


def distance(one: Real, other: Real) -> float:
    """Half of the sum of differences of two histograms: 0 the same, 1 nothing in common."""
    return float(np.abs(one - other).sum() / 2)


def repeat(image: Real, axis: int) -> int:
    """The smallest cyclic shift along an axis of which every multiple leaves the image as it looks; 0 where there is none."""
    side = image.shape[axis]
    if max(image.shape) > ROUND:
        return 0
    spectrum = np.square(np.abs(np.fft.rfft(image - image.mean(), axis=axis))).sum(1 - axis)
    alike = np.fft.irfft(spectrum, side)  # circular autocorrelation along the axis
    alike = alike / max(alike[0], 1e-12)
    if alike[0] < 0.5:
        return 0
    return next((step for step in range(1, side // 2 + 1) if alike[step::step].min() >= REPEATS), 0)


def spots(images: Sequence[Real]) -> int:
    """Area in pixels of the largest place in which one of some registered clean images differs from their median; 0 for few images."""
    if len(images) < 3:
        return 0
    near = blur(np.stack([middle(image) for image in images]))
    usual = np.median(near, axis=0)
    threshold = CONTRAST * float(np.subtract(*np.percentile(usual, (99, 1))))
    parts, count = ndimage.label(np.abs(near - usual) > threshold, PLANE)
    return int(np.bincount(parts.ravel(), minlength=count + 1)[1:].max(initial=0))


def wander(images: Sequence[Real], references: Sequence[Real]) -> int:
    """Pixels, 3 at most, by which edges lie elsewhere than in the references, where one edge pixel of twenty does in the median image.

    It is the least reach beyond which one more pixel takes off little: what is left are defects.
    """
    moved, left = [], []
    for image, reference in zip(images, references, strict=True):
        one, other = blur(middle(image)), blur(middle(reference))
        threshold = CONTRAST * float(np.subtract(*np.percentile(other, (99, 1))))
        around = [(ndimage.grey_erosion(other, (n, n)), ndimage.grey_dilation(other, (n, n))) for n in range(1, 2 * REACH + 4, 2)]
        gaps = [np.abs(one - np.clip(one, low, high)) > threshold for low, high in around]
        edges = around[1][1] - around[1][0] > threshold
        moved.append(float(gaps[0][edges].mean()) if edges.any() else 0.0)
        left.append([float(gap.mean()) for gap in gaps])
    shares = np.mean(left, axis=0)
    if np.median(moved) < WANDERING:
        return 0
    return next((edge for edge in range(REACH) if shares[edge] <= 1.3 * shares[edge + 1]), REACH)
