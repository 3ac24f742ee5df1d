"""Choosing images that are worth much and unlike one another: greedy, as for a determinantal point process.

Two images are alike by k = exp(-|a - b|), the distance of their defects in quarters of the frame (down, right) and in octaves of area.
What is new in an image is the share of its variance that those chosen before leave unexplained, det(K with it) / det(K without it), 1 for
the first and 0 for a twin: the greedy maximum of a determinant (Chen, Zhang, Zhou 2018, algorithm 1, incremental Cholesky). Each step
takes the largest (1 - diversity) x quality + diversity x what is new, both from 0 to 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]
QUARTER = 4.0
"""Units of distance from one side of the frame to the other."""


def positions(y: Real, x: Real, area: Real) -> Real:
    """Where defects lie [N,3] for `chosen`: centres as shares of the sides, areas in pixels."""
    return np.stack([QUARTER * y, QUARTER * x, np.log2(np.maximum(area, 1))], 1)


def chosen(quality: Real, at: Real, count: int, diversity: float) -> NDArray[np.int64]:
    """Rows of `count` of the images of this quality [N] (0 to 1) and position [N,d], in the order of choice; of equals the first."""
    if diversity == 0:
        first: NDArray[np.int64] = np.argsort(-quality, kind="stable")[:count]
        return first
    left, rows, new = np.ones(len(quality), bool), np.empty(count, np.int64), np.ones(len(quality))
    factor = np.zeros((len(quality), count))
    for step in range(count):
        gain = np.where(left, (1 - diversity) * quality + diversity * new, -np.inf)
        row = int(gain.argmax())
        rows[step], left[row] = row, False
        alike = np.exp(-np.sqrt(np.square(at - at[row]).sum(1)))
        if new[row] > 1e-9:
            factor[:, step] = (alike - factor[:, :step] @ factor[row, :step]) / np.sqrt(new[row])
            new = np.maximum(new - np.square(factor[:, step]), 0)
    return rows
