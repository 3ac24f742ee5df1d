"""Single defects and false alarms at thresholds: what is found where at most so many clean images have an alarm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fabloom.plugins.blocks.defects import Defects, height
from fabloom.plugins.blocks.intervals import gathered

Real = NDArray[np.float64]
HIGHEST, OTHERS = 32, 32
"""Thresholds that are tried: so many of the highest heights of clean images, and so many others that defects are found at."""


@dataclass(frozen=True)
class Events:
    """At each of T thresholds, rising, for each image: defects that are found, false alarms, whether it is a clean one with an alarm,
    each [T,N]; defects of each image and whether it is clean [N].
    """

    levels: Real
    hits: Real
    alarms: Real
    disturbed: Real
    every: Real
    clean: Real

    @classmethod
    def of(cls, scores: NDArray[np.float32], defects: Defects, clean: NDArray[np.bool_], min_area: int) -> Events:
        """From scores [N,H,W]; a finding is what lies above the threshold, in regions of `min_area` pixels."""
        seen = np.where(defects.known, scores, scores.min())
        levels = rungs(np.array([height(one, min_area) for one in seen[clean]]), seen[defects.parts > 0])
        hits, alarms = [], []
        for level in levels:
            hit, false = defects.met(seen > level, min_area)
            hits.append(defects.per_image(hit))
            alarms.append(false)
        every = defects.per_image(np.ones(len(defects)))
        return cls(
            levels, np.stack(hits), np.stack(alarms), ((np.stack(alarms) > 0) & clean).astype(np.float64), every, clean.astype(np.float64)
        )

    def at_rate(self, groups: NDArray[np.int64], weights: Real, rate: float) -> tuple[Real, NDArray[np.int64]]:
        """(share of the defects found, number of the threshold) [R] with so many copies [R,G] of each source: at the lowest threshold at
        which at most `rate` of the clean images have an alarm. NaN without clean images or defects.
        """
        hits, disturbed = (weights @ gathered(values, groups).T for values in (self.hits, self.disturbed))
        every, clean = (weights @ gathered(values, groups)[0] for values in (self.every, self.clean))
        with np.errstate(invalid="ignore", divide="ignore"):
            quiet = disturbed / clean[:, None] <= rate + 1e-9
            at = quiet.argmax(1)
            found = hits[np.arange(len(at)), at] / every
        return np.where(quiet.any(1), found, np.nan), at

    def froc(self) -> list[list[float]]:
        """[false alarms an image, share of the defects found] from the highest threshold down."""
        points = zip(self.alarms.mean(1)[::-1], self.hits.sum(1)[::-1] / max(self.every.sum(), 1), strict=True)
        return [[round(float(x), 5), round(float(y), 5)] for x, y in points]


def rungs(clean: Real, drawn: NDArray[np.float32]) -> Real:
    """Thresholds, rising: the highest heights of clean images, at one of which a rate of alarms is just kept, and values of defects."""
    found = [np.quantile(drawn.astype(np.float64), np.linspace(0, 1, OTHERS), method="lower")]
    if len(clean):
        rising = np.sort(clean)
        found += [rising[-HIGHEST:], np.quantile(rising, np.linspace(0, 1, OTHERS), method="lower")]
    return np.unique(np.concatenate(found))
