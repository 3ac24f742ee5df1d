"""The raster that overlay maps lie on: pixels of a square around a wafer, and the field that each lies in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError

from . import terms
from .terms import RADIUS, Places, Real


@dataclass(frozen=True)
class Fields:
    """The grid of exposure fields: width and height of one in mm, and the wafer coordinates of the centre of field (0, 0)."""

    width: float = 26.0
    height: float = 33.0
    x: float = 0.0
    y: float = 0.0

    def numbers(self, X: Real, Y: Real) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(column, row) of the field that each place lies in; columns rise with X and rows with Y."""
        column, row = np.floor((X - self.x) / self.width + 0.5), np.floor((Y - self.y) / self.height + 0.5)
        return column.astype(np.int64), row.astype(np.int64)

    def places(self, X: Real, Y: Real) -> Places:
        """Wafer coordinates with those of the field; fields are scanned up and down in turn."""
        column, row = self.numbers(X, Y)
        x, y = X - self.x - column * self.width, Y - self.y - row * self.height
        return Places(X, Y, x, y, (1 - 2 * ((column + row) % 2)).astype(np.float64))


@dataclass(frozen=True)
class Raster:
    """`size` x `size` pixels over 300 x 300 mm: row 0 is at the top, where Y is largest, and pixels lie at their middles.

    A pixel has the field coordinates of its own field, so that seams of fields are seen. Those beyond `radius` mm are not valid.
    """

    size: int
    fields: Fields = Fields()
    radius: float = 147.0

    @property
    def pixel(self) -> float:
        """Side of a pixel in mm."""
        return 2 * RADIUS / self.size

    @cached_property
    def places(self) -> Places:
        """Where the pixels lie, [H,W] each."""
        along = (np.arange(self.size) + 0.5) * self.pixel - RADIUS
        Y, X = np.meshgrid(-along, along, indexing="ij")
        return self.fields.places(X, Y)

    @cached_property
    def valid(self) -> NDArray[np.bool_]:
        """[H,W], True on the wafer."""
        found: NDArray[np.bool_] = np.hypot(self.places.X, self.places.Y) <= self.radius
        return found

    @cached_property
    def basis(self) -> Real:
        """Displacement in nm of one unit of each term, [K,2,H,W]."""
        return terms.basis(self.places)

    def pixels(self, X: Real, Y: Real) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(row, column) of the pixels that places lie in; some may lie off the raster."""
        return np.floor((RADIUS - Y) / self.pixel).astype(np.int64), np.floor((X + RADIUS) / self.pixel).astype(np.int64)

    def stored(self) -> dict[str, Any]:
        """As plain JSON."""
        return asdict(self)

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """The inverse of `stored`. Raises DataError for anything else."""
        try:
            return cls(int(stored["size"]), Fields(**stored["fields"]), float(stored["radius"]))
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"'{stored}' says no raster of overlay maps: {error}") from error
