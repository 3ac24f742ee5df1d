"""Defects of a line/space pattern, in nm: all of these move edges.

`extent` is the size along the line (full width at half depth), `y` the row of the defect's centre.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fabloom.plugins.blocks.imaging.aerial import Domain

from .pattern import Lines

Real = NDArray[np.float64]


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
