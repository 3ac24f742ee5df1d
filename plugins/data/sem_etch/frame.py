"""The pixels that a pattern is drawn on: those of the image, and a margin that blur and jitter draw from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]
Where = NDArray[np.bool_]
Point = tuple[float, float]
MARGIN = 6
"""Pixels around the image."""
INSIDE = 3
"""Pixels between the border of the image and the centre of a defect, at least."""
NEAR = 0.75
"""A pixel so near to a centre line counts as on it: one always is, since their distance is 1."""


@dataclass(frozen=True)
class Frame:
    """`side` pixels a side, `size` of them seen."""

    size: int

    @property
    def side(self) -> int:
        """Pixels with the margin."""
        return self.size + 2 * MARGIN

    @property
    def axis(self) -> Real:
        """Centres of pixels in pixels from the upper left corner of the image."""
        return np.arange(self.side, dtype=np.float64) + 0.5 - MARGIN

    def pick(self, where: Where | None, rng: np.random.Generator) -> tuple[int, int]:
        """A pixel (row, column) of the frame for the centre of a defect: well inside of the image and `where`, or anywhere there."""
        inner = slice(MARGIN + INSIDE, self.side - MARGIN - INSIDE)
        width = inner.stop - inner.start
        one = int(rng.integers(width * width) if where is None else rng.choice(np.flatnonzero(where[inner, inner])))
        return one // width + inner.start, one % width + inner.start


class Pattern(Protocol):
    """An etched pattern in one image: its roughness, position and sizes are drawn. Distances are signed, [side,side], positive inside."""

    @property
    def pitch(self) -> float:
        """Period in pixels."""
        ...

    @property
    def distance(self) -> Real:
        """From the nearest edge, without a defect."""
        ...

    def spoilt(self, kind: str, extent: float, rng: np.random.Generator) -> Real:
        """Distance with a defect of this kind that changes the pattern itself, `extent` a share of the pitch."""
        ...

    def ground(self) -> Where:
        """Pixels in the middle of what was etched."""
        ...
