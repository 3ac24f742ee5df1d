"""Shapes on the fine samples of a `Domain`: how much of each sample a disc, a bar with round ends or a rectangle covers."""

from __future__ import annotations

from math import ceil, floor, hypot

import numpy as np
from numpy.typing import NDArray

from .aerial import Domain

Real = NDArray[np.float64]
Point = tuple[float, float]
"""(y, x) in nm from the upper left corner of the domain."""
Window = tuple[slice, slice]
PARTICLE = -0.7
"""Amplitude reflectance of a particle: half a wave out of phase by its height, hence a dark spot, a large one with a bright core."""


def _samples(domain: Domain, low: float, high: float) -> slice:
    """The fine samples that reach into low..high nm, those of a smoothed rim included."""
    return slice(*(int(np.clip(i, 0, domain.fine)) for i in (floor(low / domain.step) - 1, ceil(high / domain.step) + 1)))


def capsule(domain: Domain, start: Point, end: Point, radius: float) -> tuple[Window, Real]:
    """A bar of width 2 `radius` with round ends, whose centre line goes from `start` to `end`; a disc where these are one point.

    Gives the window of samples that it touches and their coverage in 0..1; the rim is smoothed over one sample.
    """
    window = tuple(_samples(domain, min(a, b) - radius, max(a, b) + radius) for a, b in zip(start, end, strict=True))
    y, x = ((np.arange(part.start, part.stop) + 0.5) * domain.step for part in window)
    return (window[0], window[1]), ((radius - from_segment(y[:, None], x, start, end)) / domain.step + 0.5).clip(0, 1)


def from_segment(y: Real, x: Real, start: Point, end: Point) -> Real:
    """Distance of points, of arrays that broadcast, from the segment between two points, or from one point."""
    way = end[0] - start[0], end[1] - start[1]
    square = hypot(*way) ** 2
    along = ((y - start[0]) * way[0] + (x - start[1]) * way[1]).clip(0, square) / square if square else np.zeros((1, 1))
    distance: Real = np.hypot(y - (start[0] + along * way[0]), x - (start[1] + along * way[1]))
    return distance


def rectangle(domain: Domain, upper: float, lower: float, left: float, right: float) -> tuple[Window, Real]:
    """A rectangle between two rows and two columns in nm: the window of samples that it touches and their coverage, exact, in 0..1."""
    window = _samples(domain, upper, lower), _samples(domain, left, right)
    cover = []
    for part, low, high in zip(window, (upper, left), (lower, right), strict=True):
        at = np.arange(part.start, part.stop) * domain.step
        cover.append((np.minimum(at + domain.step, high) - np.maximum(at, low)).clip(0) / domain.step)
    return window, np.outer(*cover)


def particle(amplitude: Real, domain: Domain, centre: Point, extent: float) -> Real:
    """The object under a disc of diameter `extent` that lies on top."""
    covered = amplitude.copy()
    window, inside = capsule(domain, centre, centre, extent / 2)
    covered[window] += inside * (PARTICLE - covered[window])
    return covered
