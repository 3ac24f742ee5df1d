"""From marks to pixels: means of the marks in a pixel, and the nearest mark of its field where it has none."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from fabloom.plugins.blocks.overlay.raster import Raster

from .marks import Marks

APART = 1000.0
"""mm between fields where distances are looked up: marks of others are out of reach there."""
ALMOST = 0.999
"""Of a pixel: as far as a mark reaches unless told otherwise, so that marks at the middles of pixels fill no others."""


class Rasteriser:
    """Pixels of one table's marks, wafer by wafer.

    A mark belongs to the field that its x and y are of, a pixel to the one that its middle lies in, and a pixel takes no mark of another
    field, though it lie in it: fields are exposed one by one, and overlay jumps at their seams.
    """

    def __init__(self, marks: Marks, raster: Raster, reach: float | None) -> None:
        self.raster = raster
        self.reach = ALMOST * raster.pixel if reach is None else reach
        self._marks, fields = marks, raster.fields
        order = np.argsort(marks.wafer, kind="stable")
        ends = np.cumsum(np.bincount(marks.wafer, minlength=len(marks.wafers)))
        self._of = dict(zip(marks.wafers, np.split(order, ends[:-1]), strict=True))
        column = np.rint((marks.X - marks.x - fields.x) / fields.width)
        row = np.rint((marks.Y - marks.y - fields.y) / fields.height)
        self._field = np.stack([column, row], 1)
        self._local = np.stack([marks.x, marks.y], 1) + APART * self._field
        places = raster.places
        self._pixel_field = np.stack(fields.numbers(places.X, places.Y), -1).reshape(-1, 2)
        self._pixel_local = np.stack([places.x, places.y], -1).reshape(-1, 2) + APART * self._pixel_field
        self._on = raster.valid.ravel()

    def of(self, wafer: str) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """(values [C,H,W] in nm, where they are valid [H,W]) of a wafer that has marks."""
        size, chosen = self.raster.size, self._of[wafer]
        row, column = self.raster.pixels(self._marks.X[chosen], self._marks.Y[chosen])
        inside = (row >= 0) & (row < size) & (column >= 0) & (column < size)
        pixel = np.where(inside, row * size + column, 0)
        inside &= (self._pixel_field[pixel] == self._field[chosen]).all(1)
        count = np.bincount(pixel[inside], minlength=size * size)
        values = self._marks.values[:, chosen]
        sums = np.stack([np.bincount(pixel[inside], one[inside], minlength=size * size) for one in values])
        found = sums / np.maximum(count, 1)
        valid = (count > 0) & self._on
        holes = np.flatnonzero(self._on & ~valid)
        if self.reach and len(holes):
            away, nearest = cKDTree(self._local[chosen]).query(self._pixel_local[holes], distance_upper_bound=self.reach)
            near = np.isfinite(away)
            found[:, holes[near]] = values[:, nearest[near]]
            valid[holes[near]] = True
        shape = (len(values), size, size)
        return np.where(valid, found, 0).reshape(shape).astype(np.float32), valid.reshape(size, size)
