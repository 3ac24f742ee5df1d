"""Perlin noise: the interpolated products of random gradients on a grid with the way to them (Perlin 1985, 2002)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]


def perlin(size: tuple[int, int], cells: tuple[int, int], angle: float, draw: np.random.Generator) -> Real:
    """Noise [*size] within -1..1, with so many cells along either side of a frame that is turned by `angle` (radians) about its middle.

    n(p) = sqrt(2) sum over the four corners c of the cell: fade(1 - |p - c|) (g_c . (p - c)), fade(t) = 6 t^5 - 15 t^4 + 10 t^3 along
    both axes, with unit gradients g_c.
    """
    around = 2 * max(cells) + 4  # a turned frame reaches beyond itself; the grid repeats after that
    turns = draw.uniform(0, 2 * np.pi, (around, around))
    gradients = np.stack([np.sin(turns), np.cos(turns)])
    across = [(np.arange(side) + 0.5) / side - 0.5 for side in size]
    y, x = np.meshgrid(*across, indexing="ij")
    start = draw.uniform(0, 1, 2)
    place = np.stack([
        cells[0] * (np.cos(angle) * y - np.sin(angle) * x) + start[0],
        cells[1] * (np.sin(angle) * y + np.cos(angle) * x) + start[1],
    ])  # fmt: skip
    corner = np.floor(place)
    within = place - corner
    index = corner.astype(np.int64)
    noise: Real = np.zeros(size)
    for step in np.ndindex(2, 2):
        way = within - np.array(step)[:, None, None]
        gradient = gradients[:, (index[0] + step[0]) % around, (index[1] + step[1]) % around]
        noise += np.sqrt(2) * (gradient * way).sum(0) * fade(1 - np.abs(way)).prod(0)
    return noise


def fade(t: Real) -> Real:
    """0 at 0, 1 at 1, with slope and curvature 0 at both."""
    eased: Real = t**3 * (6 * t**2 - 15 * t + 10)
    return eased
