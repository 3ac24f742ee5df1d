"""The 6T cell as rectangles of three layers, and the array of its mirror images. Lengths in gate pitches."""

from __future__ import annotations

from math import ceil, floor

import numpy as np
from numpy.typing import NDArray

from .params import CELL

Real = NDArray[np.float64]
LAYERS = ("active", "gate", "contact")
"""From the wafer up."""
HALF: dict[str, list[tuple[float, float, float, float]]] = {
    "active": [
        (-1.0, 1.0, 0.45, 1.2),  # pull-down, shared with the cell above
        (1.0, 3.0, 0.55, 1.1),  # pass gate, narrower, shared with the cell below
        (-1.35, 1.35, 1.8, 2.2),  # pull-up, ends below the gate of the other inverter
    ],
    "gate": [
        (0.3, 0.7, 0.25, 3.2),  # inverter: over pull-down and pull-up, to the other inverter's node
        (1.3, 1.7, -1.35, 1.35),  # word line: over the pass gate, shared with the cell to the left
    ],
    "contact": [
        (-0.2, 0.2, 0.625, 1.025),  # ground
        (0.8, 1.2, 0.625, 1.025),  # node
        (1.8, 2.2, 0.625, 1.025),  # bit line
        (-0.2, 0.2, 1.8, 2.2),  # supply
        (0.9, 1.5, 1.8, 2.2),  # from the pull-up to the other inverter's gate
        (1.3, 1.7, -0.2, 0.2),  # word line
    ],
}
"""(upper, lower, left, right) of one half of the cell, whose upper left corner is 0, 0; half a turn about its centre gives the other.

What a cell shares with a neighbour is symmetric about their border, so that both draw the same rectangle.
"""


def cell(layer: str) -> Real:
    """Rectangles [n,4] of one cell."""
    half = np.array(HALF[layer])
    height, width = CELL
    turned = np.stack([height - half[:, 1], height - half[:, 0], width - half[:, 3], width - half[:, 2]], 1)
    return np.concatenate([half, turned])


def tiled(layer: str, low: tuple[float, float], high: tuple[float, float]) -> Real:
    """Rectangles [n,4] of all cells that reach into low..high (y, x) and of one more on each side, every rectangle once.

    Cell (0, 0) has its upper left corner at 0, 0; cells of odd rows are mirrored top-bottom, those of odd columns left-right.
    """
    one = cell(layer)
    rectangles = one[None]
    for axis, size in enumerate(CELL):
        number = np.arange(floor(low[axis] / size) - 1, ceil(high[axis] / size) + 1)[:, None, None]
        near, far = rectangles[..., 2 * axis], rectangles[..., 2 * axis + 1]
        odd = number % 2 == 1
        begin = np.where(odd, size - far, near) + number * size
        end = np.where(odd, size - near, far) + number * size
        kept = np.broadcast_to(rectangles, (len(number), *rectangles.shape)).copy()
        kept[..., 2 * axis], kept[..., 2 * axis + 1] = begin, end
        rectangles = kept.reshape(-1, len(one), 4)
    found: Real = np.unique(rectangles.reshape(-1, 4).round(6), axis=0)
    return found
