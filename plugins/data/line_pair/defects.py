"""Defects of a line/space pattern, in nm: three move edges, the particle lies on top.

`extent` is the size along the line (full width at half depth), `y` the row of the defect's centre.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .aerial import Domain
from .pattern import Lines

Real = NDArray[np.float64]
PARTICLE = -0.7
"""Amplitude reflectance of a particle: half a wave out of phase by its height, hence a dark spot, a large one with a bright core."""


def _profile(domain: Domain, y: float, extent: float, order: int) -> Real:
    """exp(-ln 2 |2 (row - y) / extent|^order): 1 at the centre, 1/2 at +-extent / 2; a higher order has steeper ends."""
    row = (np.arange(domain.fine) + 0.5) * domain.step
    profile: Real = np.exp(-np.log(2) * np.abs(2 * (row - y) / extent) ** order)
    return profile


def bridge(lines: Lines, domain: Domain, line: int, y: float, extent: float) -> Lines:
    """Line `line` and the next one grow together."""
    joined = lines.copy()
    gap = (lines.left[line + 1] - lines.right[line]) / 2 * _profile(domain, y, extent, 4)
    joined.right[line] += gap
    joined.left[line + 1] -= gap
    return joined


def narrow(lines: Lines, domain: Domain, line: int, y: float, extent: float, *, depth: float, order: int) -> Lines:
    """Line `line` loses the share `depth` of its width: a necking, or with depth 1 and steep ends a break."""
    narrowed = lines.copy()
    cut = (lines.right[line] - lines.left[line]) / 2 * depth * _profile(domain, y, extent, order)
    narrowed.left[line] += cut
    narrowed.right[line] -= cut
    return narrowed


def particle(amplitude: Real, domain: Domain, x: float, y: float, extent: float) -> Real:
    """A disc of diameter `extent`, its rim smoothed over one sample."""
    at = (np.arange(domain.fine) + 0.5) * domain.step
    inside = ((extent / 2 - np.hypot(at[:, None] - y, at - x)) / domain.step + 0.5).clip(0, 1)
    covered: Real = amplitude + inside * (PARTICLE - amplitude)
    return covered
