"""The sites of an array: the two steps between them, the whole-pixel moves that lay sites on sites, and pictures moved so.

A hexagonal array repeats by no whole number of pixels along both axes, so a cyclic shift of the frame tears it. Moved by a lattice
vector it lies on itself, and what comes in from outside is taken from a site inside that looks the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal
from skimage.feature import peak_local_max

from .lattice import COLLINEAR, Lattice

Real = NDArray[np.float64]
Vector = tuple[float, float]
SOFT = 1.0
"""Pixels (sigma) by which noise is averaged out before an image is held against itself."""
AS_WELL = 0.9
"""A step repeats the structure where its correlation has this share of the best step's: less is a cell that only looks alike."""
INTEGER = 0.2
"""Periods by which a peak of the autocorrelation may miss a whole number of them, to be refined to it."""
OFF = 0.3
"""Largest distance in pixels, along either axis, of a lattice vector from whole pixels for a picture to be moved by it."""


def steps_of(image: Real, lattice: Lattice) -> tuple[Vector, ...]:
    """The shortest steps (down, right) in pixels that lay a grey image [H,W] on itself: two of an array, one across lines, or none.

    The shortest peaks of the autocorrelation, up to half of a side, in two directions; refined by the frequencies of the lattice.
    """
    frequencies = np.array(lattice.frequencies)
    if len(frequencies) < 2:
        return tuple((float(fy / (fy * fy + fx * fx)), float(fx / (fy * fy + fx * fx))) for fy, fx in lattice.frequencies)
    alike = autocorrelation(ndimage.gaussian_filter(image, SOFT, mode="mirror"))
    centre = np.array(alike.shape) // 2
    peaks = peak_local_max(alike, min_distance=2, exclude_border=True) - centre
    peaks = peaks[(peaks[:, 0] > 0) | ((peaks[:, 0] == 0) & (peaks[:, 1] > 0))]  # the other half mirrors this one
    if not len(peaks):
        return ()
    heights = alike[tuple((peaks + centre).T)]
    peaks = peaks[heights >= AS_WELL * heights.max()]
    lengths = np.hypot(*peaks.T)
    found: list[Real] = []
    for peak in peaks[np.lexsort((peaks[:, 0], lengths.round()))].astype(float):
        if len(found) < 2 and all(across(peak, other) > COLLINEAR for other in found):
            found.append(peak)
    return tuple(_refined(step, frequencies) for step in found)


def across(one: Sequence[float] | Real, other: Sequence[float] | Real) -> float:
    """Sine of the angle between two steps, without its sign; 0 where one is none."""
    area = abs(one[0] * other[1] - one[1] * other[0])
    return float(area / max(np.hypot(*one) * np.hypot(*other), 1e-12))


def autocorrelation(image: Real) -> Real:
    """Mean product [h,w] of an image [H,W] less its mean with itself, by shifts up to half of a side; in the middle that of none."""
    values = image - image.mean()
    whole = signal.fftconvolve(values, values[::-1, ::-1])
    shared = np.outer(*(np.convolve(np.ones(side), np.ones(side)) for side in image.shape))
    inner = tuple(slice(side - 1 - side // 2, side + side // 2) for side in image.shape)
    mean: Real = (whole / shared)[inner]
    return mean


def _refined(step: Real, frequencies: Real) -> Vector:
    """The step near a peak [2] of which both frequencies [2,2] make whole turns; the peak where there is none so near."""
    turns = frequencies @ step
    near = np.abs(turns - turns.round()).max() <= INTEGER
    down, right = (np.linalg.solve(frequencies, turns.round()) if near else step).tolist()
    return down, right


def moves_of(steps: Sequence[Vector], size: tuple[int, int]) -> NDArray[np.int64]:
    """Whole pixels [M,2] (down, right), by less than a side each, that lay sites on sites to within 0.3 pixel; no move first."""
    basis = np.array(steps, float)
    reach = int(np.ceil(np.hypot(*size) / np.abs(np.linalg.svd(basis)[1]).min()))
    numbers = np.arange(-reach, reach + 1)
    vectors = np.stack(np.meshgrid(numbers, numbers, indexing="ij"), -1).reshape(-1, 2) @ basis
    whole = vectors.round()
    kept = (np.abs(vectors - whole).max(1) <= OFF) & (np.abs(whole) < size).all(1)
    found = whole[kept].astype(np.int64)
    ordered: NDArray[np.int64] = found[np.argsort(np.hypot(*found.T), kind="stable")]
    return ordered


def translated(picture: NDArray[Any], move: NDArray[np.int64], moves: NDArray[np.int64]) -> NDArray[Any]:
    """A picture [..,H,W] moved by one of `moves`; what came in from outside is taken from the nearest other move of it that has it."""
    size = picture.shape[-2:]
    made, open_ = np.empty_like(picture), np.ones(size, bool)
    for down, right in moves[np.argsort(np.hypot(*(moves - move).T), kind="stable")].tolist():
        to = slice(max(0, down), size[0] + min(0, down)), slice(max(0, right), size[1] + min(0, right))
        source = slice(max(0, -down), size[0] - max(0, down)), slice(max(0, -right), size[1] - max(0, right))
        made[..., *to] = np.where(open_[to], picture[..., *source], made[..., *to])
        open_[to] = False
        if not open_.any():
            break
    return made
