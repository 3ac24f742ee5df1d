"""Edges of etched material: how bright they are, and how rough.

A pattern is a signed distance [n,n] to the nearest edge in pixels, positive inside the material: a union is a maximum, what is cut
away a minimum. Secondary electrons leave more easily near an edge, which is why edges are bright (Reimer, Scanning Electron
Microscopy, 2nd ed. 1998, ch. 4 and 6).
"""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Real = NDArray[np.float64]
RISE, WIDTH = 0.35, 0.9
"""Brightness of an edge above the rest, as a share of the contrast, and how far (pixels) it falls to 1/e."""


def covered(distance: Real) -> Real:
    """Share 0..1 of each pixel inside, exact for a straight edge along rows or columns."""
    return (distance + 0.5).clip(0, 1)


def glow(distance: Real) -> Real:
    """What an edge adds: RISE exp(-(d / WIDTH)^2)."""
    risen: Real = RISE * np.exp(-np.square(distance / WIDTH))
    return risen


def tone(distance: Real) -> Real:
    """Brightness, 0 on etched ground and 1 on material, both far from an edge."""
    return covered(distance) + glow(distance)


def rough(rng: np.random.Generator, shape: tuple[int, ...], sigma: float, correlation: float) -> Real:
    """Displacements of edges along the last axis, periodic: normal of std `sigma`, correlated by exp(-(distance / correlation)^2)."""
    reach = ceil(1.5 * correlation)
    # a Gaussian of half the width, folded with itself, is one of the width
    taps = np.exp(-2 * np.square(np.arange(-reach, reach + 1) / correlation))
    found: Real = ndimage.convolve1d(rng.standard_normal(shape), taps * (sigma / np.linalg.norm(taps)), axis=-1, mode="wrap")
    return found
