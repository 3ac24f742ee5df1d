"""Curves over all thresholds from counts, for the whole set and for every resample of its sources: AP, AUROC, AUPRO.

At each level, from the highest down, the pixels count that reach it. Average precision is the sum of precision times the rise of recall
(no interpolation between levels); the areas are those under the straight lines between the points of the levels, from (0, 0) on, so that
pixels of one score are neither before nor behind each other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fabloom.plugins.blocks.defects import Defects

Real = NDArray[np.float64]
MOST = 1500
"""Levels that are kept for the resamples."""
AT_ONCE = 2**22
"""Values of curves that are held at once."""


@dataclass(frozen=True)
class Counts:
    """At each of L levels, falling, for each of G sources: pixels of defects and others that reach it, the overlaps [0, 1] of its
    defects added up, each [G,L]; `whole` [G,3] are all pixels of defects, all others, all defects.
    """

    levels: Real
    true: Real
    false: Real
    overlaps: Real
    whole: Real

    @classmethod
    def of(cls, scores: NDArray[np.float32], defects: Defects, groups: NDArray[np.int64]) -> Counts:
        """From scores [N,H,W] and the group [N] of each image; pixels that nobody can tell are left out."""
        at = defects.known.ravel().nonzero()[0]
        values, level = np.unique(scores.ravel()[at], return_inverse=True)
        count, last = int(groups.max()) + 1, len(values) - 1
        source = groups[at // scores[0].size]
        place, part = source * len(values) + (last - level), defects.parts.ravel()[at]
        drawn = part > 0
        share = 1 / defects.area[part[drawn] - 1]

        def added(some: NDArray[np.bool_], weights: Real | None = None) -> Real:
            found = np.bincount(place[some], weights, minlength=count * len(values))
            return np.cumsum(found.reshape(count, len(values)), 1, dtype=np.float64)

        true, false, overlaps = added(drawn), added(~drawn), added(drawn, share)
        each = np.bincount(groups[defects.image], minlength=count)
        return cls(values[::-1].astype(np.float64), true, false, overlaps, np.stack([true[:, -1], false[:, -1], each], 1))

    def thinned(self, most: int = MOST) -> Counts:
        """The same at no more levels than that, where the curves move most; the last one is kept."""
        if len(self.levels) <= most:
            return self
        moved = sum(values.sum(0) / max(values[:, -1].sum(), 1e-12) for values in (self.true, self.false, self.overlaps))
        wanted = np.linspace(0, float(moved[-1]), most)
        kept = np.unique(np.searchsorted(moved, wanted).clip(max=len(self.levels) - 1))
        return replace(self, levels=self.levels[kept], true=self.true[:, kept], false=self.false[:, kept], overlaps=self.overlaps[:, kept])

    def areas(self, weights: Real, limit: float) -> dict[str, Real]:
        """AP, AUROC and AUPRO [R] with so many copies [R,G] of each source; NaN where there is no defect or nothing else."""
        rows = max(1, AT_ONCE // len(self.levels))
        parts = [self._areas(weights[start : start + rows], limit) for start in range(0, len(weights), rows)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _areas(self, weights: Real, limit: float) -> dict[str, Real]:
        true, false, overlaps = (weights @ values for values in (self.true, self.false, self.overlaps))
        drawn, other, regions = (weights @ self.whole).T[:, :, None]
        with np.errstate(invalid="ignore", divide="ignore"):
            recall, falls, covered = true / drawn, false / other, overlaps / regions
            precision = np.where(true + false > 0, true / (true + false), 0.0)
        steps = np.diff(recall, axis=1, prepend=0.0)
        return {
            "ap": (steps * precision).sum(1),
            "auroc": area(falls, recall, 1.0),
            "aupro": area(falls, covered, limit),
        }

    def best_dice(self) -> float:
        """The highest Dice of all pixels together that any threshold has."""
        true, false = self.true.sum(0), self.false.sum(0)
        return float((2 * true / (true + false + self.whole[:, 0].sum())).max())

    def drawn(self, limit: float) -> dict[str, list[list[float]]]:
        """Points of the curves of the whole set: 'precision' over recall, 'overlap' over the share of false positive pixels."""
        some = self.thinned(120)
        true, false, overlaps = (values.sum(0) for values in (some.true, some.false, some.overlaps))
        pixels, other, regions = self.whole.sum(0)
        precision = [[float(x), float(y)] for x, y in zip(true / pixels, true / np.maximum(true + false, 1), strict=True)]
        overlap = [[0.0, 0.0]] + [[float(x), float(y)] for x, y in zip(false / other, overlaps / regions, strict=True) if x <= limit]
        return {"precision": rounded(precision), "overlap": rounded(overlap)}


def rounded(points: list[list[float]]) -> list[list[float]]:
    """Five decimals."""
    return [[round(value, 5) for value in point] for point in points]


def area(x: Real, y: Real, limit: float) -> Real:
    """Mean height [R] of the lines through (0, 0) and points (x, y) [R,L], x rising, from x = 0 to `limit`."""
    x0, y0 = (np.concatenate([np.zeros((len(values), 1)), values[:, :-1]], 1) for values in (x, y))
    end = np.minimum(x, limit)
    wide = np.maximum(end - x0, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        part = np.where(x > x0, wide / (x - x0), 0.0)
    found: Real = (wide * (2 * y0 + (y - y0) * part) / 2).sum(1) / limit
    return np.where(np.isfinite(x[:, -1]) & np.isfinite(y[:, -1]), found, np.nan)
