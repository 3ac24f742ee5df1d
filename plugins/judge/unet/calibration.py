"""The threshold that travels with a model: chosen on the images that were held out of its training, for a stated rate of false alarms.

An alarm on a clean image is a component of `MIN_AREA` pixels above the threshold, as `segment` reports one. Of the thresholds that give
no more alarms than the stated share of the clean validation images, the one that finds most of the validation defects is taken, and of
equal ones that of the largest mean IoU. n clean images cannot show a rate below 1 / n: then 0.5 stays, and the model says why.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fabloom.kinds.masks import UNKNOWN, is_defect
from fabloom.plugins.blocks.metrics import events

from .params import MIN_AREA

PLAIN = 0.5
"""The threshold where none can be chosen."""
USUAL = "the usual one"
GRID = np.round(1 / (1 + np.exp(-np.linspace(-6, 6, 121))), 4)
"""Thresholds that are tried: even steps of the logit, 0.0025 to 0.9975, 0.5 in the middle."""
STEPS = np.arange(len(GRID))


@dataclass(frozen=True)
class Choice:
    """A threshold and how it was chosen; `why` goes on after "threshold 0.5, "."""

    threshold: float
    chosen: bool
    why: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For the config of a model."""
        return {"chosen": self.chosen, "why": self.why, **self.facts}


class HeldOut:
    """Probabilities of images that trainings held out; of an image that several did not see, the mean over those."""

    def __init__(self) -> None:
        self.sums: dict[int, NDArray[np.float32]] = {}
        self.counts: dict[int, int] = {}

    def add(self, row: int, probability: NDArray[np.float32]) -> None:
        """The probability [H,W] of a defect in an image by a training that did not see it."""
        self.sums[row] = self.sums[row] + probability if row in self.sums else probability
        self.counts[row] = self.counts.get(row, 0) + 1

    def choose(self, masks: NDArray[np.uint8], rate: float, source: NDArray[np.int32] | None = None) -> Choice:
        """From masks [N,H,W] of all images, and the source [N] of each where it is known."""
        rows = [row for row in sorted(self.sums) if (masks[row] != UNKNOWN).any()]
        defects = [row for row in rows if is_defect(masks[row]).any()]
        clean = sorted({*rows} - {*defects})
        share = f"{100 * rate:g} %"
        facts: dict[str, Any] = {"false_alarms": rate, "min_area": MIN_AREA, "clean_images": len(clean), "defect_images": len(defects)}
        if source is not None:
            facts["sources"] = len(set(source[rows].tolist()))
        if len(clean) * rate < 1 - 1e-9:
            wanted = int(np.ceil(1 / rate - 1e-9))
            why = f"choosing it for {share} false alarms takes {wanted} held-out clean images, here are {len(clean)}"
            return Choice(PLAIN, False, f"{USUAL}: {why} (more images, a larger `validation`, or a larger `false_alarms`)", facts)
        if not defects:
            return Choice(PLAIN, False, f"{USUAL}: no held-out image has a defect, so nothing says what a threshold finds", facts)
        each = {row: (self.sums[row] / self.counts[row]).astype(np.float32) for row in rows}
        alarms = np.sum([reach(each[row], masks[row], 0) > STEPS for row in clean], 0)
        hits = np.sum([reach(each[row], masks[row], 1) > STEPS for row in defects], 0)
        fits = np.mean([overlaps(each[row], masks[row]) for row in defects], 0)
        fine = alarms <= int(rate * len(clean) + 1e-9)
        if not fine.any() or not hits[fine].any():
            why = f"{USUAL}: none with at most {share} false alarms on {len(clean)} held-out clean images finds a defect"
            return Choice(PLAIN, False, why, facts)
        best = int(max(np.flatnonzero(fine), key=lambda at: (hits[at], fits[at])))
        found = {"alarms": int(alarms[best]), "found": int(hits[best]), "iou": round(float(fits[best]), 4)}
        why = (
            f"of those with at most {share} false alarms the one that finds most and fits best: {found['alarms']} alarms on "
            f"{len(clean)} held-out clean images, {found['found']} of {len(defects)} defect images found"
        )
        return Choice(float(GRID[best]), True, why, {**facts, **found})


def reach(probability: NDArray[np.float32], mask: NDArray[np.uint8], what: int) -> int:
    """Number of thresholds of the grid, from the lowest on, at which an image [H,W] gives an alarm (0) or a hit of a true defect (1).

    What lies above a higher threshold lies above a lower one, so that the answer turns once: it is found by halving.
    """

    def silent(at: int) -> bool:
        return not events((probability > GRID[at])[None], mask[None], MIN_AREA)[what][0]

    return bisect_left(range(len(GRID)), True, key=silent)


def overlaps(probability: NDArray[np.float32], mask: NDArray[np.uint8]) -> NDArray[np.float64]:
    """IoU of an image with a defect at every threshold of the grid, unknown pixels left out; small components count."""
    true, known = is_defect(mask), mask != UNKNOWN
    above = [count(probability[part & known]) for part in (true, ~true)]
    iou: NDArray[np.float64] = above[0] / (true.sum() + above[1])
    return iou


def count(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """How many values lie above each threshold of the grid."""
    return len(values) - np.searchsorted(np.sort(values), GRID, side="right")
