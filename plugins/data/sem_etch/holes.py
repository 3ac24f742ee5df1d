"""Grids of contact holes: a square grid of discs with rough rims, etched into material."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, pi

import numpy as np
from numpy.typing import NDArray

from fabloom.plugins.blocks.imaging.shapes import from_segment

from .edges import rough
from .frame import NEAR, Frame, Real, Where
from .params import SimulateParams

Index = NDArray[np.int64]


@dataclass(frozen=True)
class Holes:
    """Holes of one pitch: `offset` (y, x) is the upper left corner of cell 0, 0, `radii` [rows, columns, directions] its rim.

    `first` are row and column of the cell that comes first in `radii`.
    """

    frame: Frame
    pitch: float
    diameter: float
    offset: tuple[float, float]
    first: tuple[int, int]
    radii: Real

    @classmethod
    def draw(cls, params: SimulateParams, frame: Frame, rng: np.random.Generator) -> Holes:
        """Rough holes, the grid at a drawn position where the phase is random."""
        pitch = rng.uniform(*params.pitch)
        diameter = rng.uniform(*params.hole) * pitch
        sigma, correlation = rng.uniform(*params.ler), rng.uniform(*params.correlation)
        phase = rng.random(2) if params.random_phase else np.zeros(2)
        offset = (phase[0] * pitch, phase[1] * pitch)
        axis = frame.axis
        first, last = (tuple(int(np.floor((axis[end] - o) / pitch)) for o in offset) for end in (0, -1))
        radius = diameter / 2
        shape = (last[0] - first[0] + 1, last[1] - first[1] + 1, ceil(2 * pi * radius))
        radii = np.maximum(radius + rough(rng, shape, sigma, correlation), 0.5)
        return cls(frame, pitch, diameter, offset, (first[0], first[1]), radii)

    @cached_property
    def cell(self) -> tuple[Index, Index]:
        """Row and column of the cell of each row and each column of pixels, counted from `first`."""
        cells = [np.floor((self.frame.axis - o) / self.pitch).astype(np.int64) - f for o, f in zip(self.offset, self.first, strict=True)]
        return cells[0], cells[1]

    @cached_property
    def aside(self) -> tuple[Real, Real]:
        """How far rows and columns of pixels lie from the centre of their cell."""
        found = [self.frame.axis - o - (c + f + 0.5) * self.pitch for o, c, f in zip(self.offset, self.cell, self.first, strict=True)]
        return found[0], found[1]

    @cached_property
    def distance(self) -> Real:
        """From the rim of the hole of the pixel's own cell, positive outside of it."""
        y, x = self.aside[0][:, None], self.aside[1]
        directions = self.radii.shape[2]
        # rims are told a pixel apart, so the nearest of them is near enough
        at = np.rint(np.arctan2(y, x) * (directions / (2 * pi))).astype(np.int64) % directions
        found: Real = np.hypot(y, x) - self.radii[self.cell[0][:, None], self.cell[1], at]
        return found

    def ground(self) -> Where:
        """The middle of holes."""
        return np.hypot(self.aside[0][:, None], self.aside[1]) < NEAR

    def spoilt(self, kind: str, extent: float, rng: np.random.Generator) -> Real:
        """One hole missing, or the wall between two neighbours broken through, `extent` diameters wide."""
        if kind == "missing":
            y, x = self.frame.pick(self.ground(), rng)
            filled = (self.cell[0] == self.cell[0][y])[:, None] & (self.cell[1] == self.cell[1][x])
            return np.where(filled, self.pitch, self.distance)
        below = bool(rng.integers(2))
        far_y, far_x = (
            np.abs(one) > self.pitch / 2 - NEAR if wall else np.abs(one) < NEAR
            for one, wall in zip(self.aside, (below, not below), strict=True)
        )
        y, x = self.frame.pick(far_y[:, None] & far_x, rng)
        axis = self.frame.axis
        down, right = (self.pitch / 2, 0.0) if below else (0.0, self.pitch / 2)
        ends = (axis[y] - down, axis[x] - right), (axis[y] + down, axis[x] + right)
        return np.minimum(self.distance, from_segment(axis[:, None], axis, *ends) - extent * self.diameter / 2)
