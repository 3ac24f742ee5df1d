"""The dies of a round wafer as a square grid, in lengths of its radius."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]
Bool = NDArray[np.bool_]


@dataclass(frozen=True)
class Wafer:
    """So many dies across, each a square; the wafer's centre is the origin and its radius 1."""

    size: int

    @property
    def die(self) -> float:
        """Side of a die in radii."""
        return 2 / self.size

    @cached_property
    def middles(self) -> tuple[Real, Real]:
        """(y, x) of the middles of all places of the grid, [size,size] each."""
        along = (np.arange(self.size) + 0.5) * self.die - 1
        y, x = np.meshgrid(along, along, indexing="ij")
        return y, x

    @cached_property
    def dies(self) -> Bool:
        """True [size,size] where a die is: all four corners lie on the wafer, since a die that is cut off is not tested."""
        corner = (np.abs(2 * np.arange(self.size) + 1 - self.size) + 1) ** 2  # whole numbers, in half dies: some lie on the very edge
        found: Bool = corner[:, None] + corner <= self.size**2
        return found

    @cached_property
    def edge(self) -> float:
        """Radius at which the middle of the outermost die lies."""
        y, x = self.middles
        return float(np.hypot(y, x)[self.dies].max())

    def around(self, y: float, x: float) -> tuple[Real, Real]:
        """(distance, angle) of every place from a point, [size,size] each."""
        ys, xs = self.middles
        return np.hypot(ys - y, xs - x), np.arctan2(ys - y, xs - x)
