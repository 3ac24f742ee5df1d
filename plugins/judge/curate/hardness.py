"""What a segmenter gets wrong: its loss on each image, and how much a defect is like those that it misses elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from fabloom.errors import DataError
from fabloom.kinds import Report
from fabloom.kinds.masks import UNKNOWN, is_defect

from .portraits import descriptors

Real = NDArray[np.float64]
CLIP = 1e-7
"""Probabilities are no nearer to 0 and 1."""
FINEST = np.array([0.02, 0.02, 0.2, 1.0])
"""Place, octaves of area and grey levels of contrast below which defects do not differ."""
TABLE = "Defects"
COLUMNS = ("image", "source", "down", "right", "pixels", "contrast", "probability", "found")
"""Table of a report of `misses`, one row for each defect."""


def losses(probability: NDArray[np.float32], masks: NDArray[np.uint8]) -> Real:
    """The loss [N] of each image that unet.train makes small, half Dice and half cross-entropy, from probabilities and masks [N,H,W].

    Dice is 0 for an image without a defect; pixels of 255 are left out, and an image of nothing else has loss 0.
    """
    found = np.empty(len(masks))
    for row, (image, mask) in enumerate(zip(probability, masks, strict=True)):
        known = mask != UNKNOWN
        p, true = image[known].astype(np.float64).clip(CLIP, 1 - CLIP), is_defect(mask)[known]
        entropy = -np.log(np.where(true, p, 1 - p)).mean() if known.any() else 0.0
        dice = 1 - 2 * p[true].sum() / (p.sum() + true.sum()) if true.any() else 0.0
        found[row] = (entropy + dice) / 2
    return found


def ranks(values: Real) -> Real:
    """From 0 (the least) to 1 (the largest); equal values share their mean rank, one alone has 1."""
    if len(values) < 2:
        return np.ones(len(values))
    shared: Real = (rankdata(values) - 1) / (len(values) - 1)
    return shared


@dataclass(frozen=True)
class Misses:
    """Defects that a segmenter was tried on: place, octaves of area and contrast [D,4], and which of them it missed [D]."""

    at: Real
    missed: NDArray[np.bool_]

    @classmethod
    def read(cls, report: Report) -> Self:
        """From a report of `curate.misses`. Raises DataError for another one."""
        table = report.tables.get(TABLE)
        if table is None or tuple(table.columns) != COLUMNS:
            raise DataError(f"report {report.key[:12]} has no table of single defects, '{TABLE}'; give `misses` a report of curate.misses")
        down, right, area, contrast = (_column(table.rows, name) for name in ("down", "right", "pixels", "contrast"))
        return cls(descriptors(down, right, area, contrast), _column(table.rows, "found") == 0)

    def like(self, at: Real) -> Real:
        """How probable it is that defects [M,4] are missed: the share of misses among those like them (Nadaraya, Watson 1964).

        Gaussian weights of the deviation of each number times Scott's factor (1992); one defect's weight of the overall share is added, so
        that where nothing is alike it stands.
        """
        count, dimensions = self.at.shape
        overall = float(self.missed.mean()) if count else 0.0
        if count < 2:
            return np.full(len(at), overall)
        width = np.maximum(self.at.std(0), FINEST) * count ** (-1 / (dimensions + 4))
        apart = np.square((at[:, None] - self.at[None]) / width).sum(2)
        weight = np.exp(-apart / 2)
        share: Real = (weight @ self.missed + overall) / (weight.sum(1) + 1)
        return share


def _column(rows: Sequence[Sequence[object]], name: str) -> Real:
    return np.array([row[COLUMNS.index(name)] for row in rows], float)
