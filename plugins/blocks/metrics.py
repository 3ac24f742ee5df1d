"""Scores of predicted masks, each a ratio of sums over images, so that one bootstrap serves them all.

The IoU of an image is intersection / union, and 1 where the union is empty (both masks empty): the protocol of the SinSEMI
paper. A wrong alarm on a clean image then scores 0, and predicting nothing scores the share of clean images.

Truth is 0, 1..K (a defect of any class) or 255 (cannot tell). Pixels of 255 are left out: what is predicted there is neither
right nor wrong, and an image of nothing else counts nowhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fabloom.kinds.masks import UNKNOWN, is_defect

from .components import EIGHT

Masks = NDArray[np.bool_] | NDArray[np.uint8]
Real = NDArray[np.float64]


@dataclass(frozen=True)
class Ratio:
    """A score sum(top) / sum(bottom) over images, both [N], or [R,N] for R trainings; undefined where a bottom sums to 0."""

    top: Real
    bottom: Real

    @property
    def each(self) -> Real:
        """The score of each training on the whole set [R]; NaN where undefined."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.atleast_1d(np.asarray(self.top.sum(-1) / self.bottom.sum(-1)))

    @property
    def value(self) -> float | None:
        """The mean over the trainings."""
        mean = float(self.each.mean())
        return mean if np.isfinite(mean) else None

    @property
    def training_sd(self) -> float | None:
        """Deviation between the trainings (n - 1); None for a single one."""
        return float(self.each.std(ddof=1)) if len(self.each) > 1 and self.value is not None else None


@dataclass(frozen=True)
class Marks:
    """What was predicted on each image, [N] or [R,N]: pixels in both, found and true; 0 or 1 for alarms and hits; known area."""

    both: Real
    found: Real
    true: Real
    alarms: Real
    hits: Real
    area: Real

    @classmethod
    def of(cls, found: Masks, truth: Masks, min_area: int) -> Marks:
        """From predicted masks and the truth, both [N,H,W]."""
        known = np.asarray(truth) != UNKNOWN
        area = known.reshape(len(known), -1).sum(1).astype(np.float64)
        return cls(*overlap(found, truth), *events(found, truth, min_area), area)

    @classmethod
    def stacked(cls, trainings: Sequence[Marks]) -> Marks:
        """[R,N] from R of [N]."""
        return cls(*(np.stack([getattr(marks, field.name) for marks in trainings]) for field in fields(cls)))

    @property
    def iou(self) -> Real:
        """IoU of each image; 1 where both masks are empty."""
        return shared(self.both, self.found + self.true - self.both)

    @property
    def dice(self) -> Real:
        """Dice of each image; 1 where both masks are empty."""
        return shared(2 * self.both, self.found + self.true)


def shared(top: Real, bottom: Real) -> Real:
    """top / bottom, 1 where the bottom is 0."""
    return np.where(bottom == 0, 1.0, top / np.maximum(bottom, 1))


def overlap(found: Masks, truth: Masks) -> tuple[Real, Real, Real]:
    """(intersection, predicted, true) pixels of each image [N], those of 255 in the truth left out."""
    a, b = np.asarray(found, bool) & (np.asarray(truth) != UNKNOWN), is_defect(np.asarray(truth))
    both, first, second = ((m.reshape(len(m), -1).sum(1).astype(np.float64)) for m in (a & b, a, b))
    return both, first, second


def image_iou(found: Masks, truth: Masks) -> Real:
    """IoU of each image [N]; 1 where both masks are empty."""
    both, first, second = overlap(found, truth)
    return shared(both, first + second - both)


def events(found: Masks, truth: Masks, min_area: int) -> tuple[Real, Real]:
    """Per image [N], 0 or 1: is there a predicted component of `min_area` known pixels (8-connected), and does one touch the truth?"""
    alarms, hits = np.zeros(len(found)), np.zeros(len(found))
    found, true = np.asarray(found, bool) & (np.asarray(truth) != UNKNOWN), is_defect(np.asarray(truth))
    for row in np.flatnonzero(found.reshape(len(found), -1).any(1)):
        parts, _ = ndimage.label(found[row], EIGHT)
        areas = np.bincount(parts.ravel())
        areas[0] = 0
        large = areas >= min_area
        alarms[row] = large.any()
        hits[row] = (large[parts] & true[row]).any()
    return alarms, hits


def scores(marks: Marks) -> dict[str, Ratio]:
    """All scores of one predictor.

    iou, dice: mean over images. iou_defect, dice_defect, detection_rate: over images with a defect. false_alarm_rate,
    false_alarm_pixels (share of pixels): over clean images. iou_pooled, dice_pooled: from the pixels of all images together.
    """
    one, defect = (marks.area > 0).astype(np.float64), (marks.true > 0).astype(np.float64)
    clean, iou, dice = one - defect, marks.iou, marks.dice
    return {
        "iou": Ratio(iou * one, one),
        "iou_defect": Ratio(iou * defect, defect),
        "iou_pooled": Ratio(marks.both, marks.found + marks.true - marks.both),
        "dice": Ratio(dice * one, one),
        "dice_defect": Ratio(dice * defect, defect),
        "dice_pooled": Ratio(2 * marks.both, marks.found + marks.true),
        "detection_rate": Ratio(marks.hits * defect, defect),
        "false_alarm_rate": Ratio(marks.alarms * clean, clean),
        "false_alarm_pixels": Ratio(marks.found * clean, marks.area * clean),
    }


MOVED = ("iou_defect", "detection_rate", "false_alarm_rate")
"""Scores that are also taken over all moved copies of the test images."""


def over_moves(moves: Sequence[Marks]) -> dict[str, Ratio]:
    """`MOVED` over all moved copies, as `iou_defect_moved` and so on; the copies of an image stay together in a resample.

    detection_rate_every_move: share of the defect images (of the first move) whose defect is found in every copy.
    """
    parts = [scores(marks) for marks in moves]
    found = {f"{name}_moved": Ratio(np.sum([p[name].top for p in parts], 0), np.sum([p[name].bottom for p in parts], 0)) for name in MOVED}
    always = np.min([p["detection_rate"].top for p in parts], 0)
    return found | {"detection_rate_every_move": Ratio(always, parts[0]["detection_rate"].bottom)}


def changed(still: Marks, moved: Marks) -> float | None:
    """Share of defect images where a move changes whether the defect is found; None without a defect image."""
    defect = (still.true > 0) & (moved.true > 0)
    return float((still.hits != moved.hits)[defect].mean()) if defect.any() else None


def iou_sd(marks: Marks) -> float:
    """Population deviation of the IoU over images, as published; the mean of it over trainings. Images of 255 alone are left out."""
    return float(np.mean([iou[area > 0].std() for iou, area in zip(np.atleast_2d(marks.iou), np.atleast_2d(marks.area), strict=True)]))
