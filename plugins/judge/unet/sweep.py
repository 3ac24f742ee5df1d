"""Every threshold at once: free-response ROC (defects found against false alarms an image), precision and recall, IoU.

FROC (Bunch et al. 1978; Chakraborty 1989) counts single defects where ROC counts images. At each threshold the masks are what `segment`
would give: regions of at least `min_area` pixels. Lower thresholds find more pixels, never fewer, so recall can only rise; regions
may join as they grow, so the number of false alarms need not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fabloom.plugins.blocks.defects import Defects
from fabloom.plugins.blocks.intervals import Interval
from fabloom.plugins.blocks.metrics import Ratio, Real, overlap, shared

from .prediction import logit

RATES = (0.01, 0.03, 0.1, 0.3, 1.0)
"""False alarms an image that a table of FROC asks for."""


@dataclass(frozen=True)
class Sweep:
    """What a predictor finds at each of T thresholds: which of D defects [T,D], and of each image [T,N] the false alarms and the pixels
    that are found, and found rightly. With an axis of R trainings before them where they are stacked.
    """

    levels: tuple[float, ...]
    hits: NDArray[np.bool_]
    alarms: Real
    found: Real
    both: Real

    @classmethod
    def of(cls, logits: NDArray[np.float32], levels: tuple[float, ...], truth: NDArray[np.uint8], defects: Defects, min_area: int) -> Sweep:
        """From logits [N,H,W] of one training."""
        rows = []
        for level in levels:
            mask = logits > logit(level)
            both, found, _ = overlap(mask, truth)
            rows.append((*defects.met(mask, min_area), found, both))
        hits, alarms, found, both = (np.stack(column) for column in zip(*rows, strict=True))
        return cls(levels, hits, alarms, found, both)

    @classmethod
    def stacked(cls, trainings: list[Sweep]) -> Sweep:
        """[R,..] from R of them."""
        arrays = (np.stack([getattr(one, name) for one in trainings]) for name in ("hits", "alarms", "found", "both"))
        return cls(trainings[0].levels, *arrays)


def ratios(sweep: Sweep, defects: Defects, true: Real) -> dict[str, Ratio]:
    """Scores at each level, as `sensitivity 0.5` and so on: of single defects, of pixels, and IoU of images with a defect.

    `true` is the number of true pixels of each image [N].
    """
    every, ones, drawn = defects.per_image(np.ones(len(defects))), np.ones(len(true)), (true > 0).astype(np.float64)
    hits = defects.per_image(sweep.hits)
    found: dict[str, Ratio] = {}
    for index, level in enumerate(sweep.levels):
        alarms, area, both = (getattr(sweep, name)[:, index] for name in ("alarms", "found", "both"))
        iou = shared(both, area + true - both)
        found |= {
            named("sensitivity", level): Ratio(hits[:, index], np.broadcast_to(every, alarms.shape)),
            named("false alarms", level): Ratio(alarms, np.broadcast_to(ones, alarms.shape)),
            named("precision", level): Ratio(both, area),
            named("recall", level): Ratio(both, np.broadcast_to(true, alarms.shape)),
            named("iou", level): Ratio(iou * drawn, np.broadcast_to(drawn, alarms.shape)),
        }
    return found


def named(score: str, level: float) -> str:
    """The name of a score at a level."""
    return f"{score} {level:g}"


@dataclass(frozen=True)
class Curve:
    """A predictor over all levels: each score of `ratios` with its interval, and the sweep behind them; `threshold` is the level in use."""

    threshold: float
    sweep: Sweep
    intervals: Mapping[str, Interval]

    def value(self, score: str, level: float) -> float | None:
        """A score at a level; None where undefined."""
        return self.intervals[named(score, level)].value

    def at_rate(self, rate: float) -> float | None:
        """The level of the highest sensitivity with at most `rate` false alarms an image, the highest of equals; None if there is none."""
        fit = [
            (self.value("sensitivity", level) or 0.0, level)
            for level in self.sweep.levels
            if (alarms := self.value("false alarms", level)) is not None and alarms <= rate
        ]
        return max(fit)[1] if fit else None

    def points(self, across: str, up: str) -> list[list[float]]:
        """[x, y, low, high] of two scores at every level where both are defined, from the highest level down."""
        found = []
        for level in reversed(self.sweep.levels):
            x, y = self.value(across, level), self.intervals[named(up, level)]
            if x is not None and y.value is not None and y.low is not None and y.high is not None:
                found.append([round(v, 5) for v in (x, y.value, y.low, y.high)])
        return found

    def by_level(self, score: str) -> list[list[float]]:
        """[level, value] of a score."""
        return [[level, round(value, 5)] for level in self.sweep.levels if (value := self.value(score, level)) is not None]
