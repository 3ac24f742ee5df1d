"""Scores of predicted masks, each a ratio of sums over images, so that one bootstrap serves them all.

The IoU of an image is intersection / union, and 1 where the union is empty (both masks empty): the protocol of the SinSEMI
paper. A wrong alarm on a clean image then scores 0, and predicting nothing scores the share of clean images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

Masks = NDArray[np.bool_] | NDArray[np.uint8]
Real = NDArray[np.float64]
EIGHT = np.ones((3, 3), int)
CHUNK = 2**22
"""Resampled rows that are drawn at once."""


@dataclass(frozen=True)
class Ratio:
    """A score sum(top) / sum(bottom) over images, both [N]; undefined where the bottom sums to 0."""

    top: Real
    bottom: Real

    @property
    def value(self) -> float | None:
        """The score of the whole set."""
        total = float(self.bottom.sum())
        return float(self.top.sum()) / total if total else None


@dataclass(frozen=True)
class Interval:
    """A score with the ends of its percentile bootstrap interval; None where undefined."""

    value: float | None
    low: float | None
    high: float | None


def overlap(found: Masks, truth: Masks) -> tuple[Real, Real, Real]:
    """(intersection, predicted, true) pixels of each image [N]."""
    a, b = np.asarray(found, bool), np.asarray(truth, bool)
    both, first, second = ((m.reshape(len(m), -1).sum(1).astype(np.float64)) for m in (a & b, a, b))
    return both, first, second


def image_iou(found: Masks, truth: Masks) -> Real:
    """IoU of each image [N]; 1 where both masks are empty."""
    both, first, second = overlap(found, truth)
    union = first + second - both
    return np.where(union == 0, 1.0, both / np.maximum(union, 1))


def image_dice(found: Masks, truth: Masks) -> Real:
    """Dice 2 |A n B| / (|A| + |B|) of each image [N]; 1 where both masks are empty."""
    both, first, second = overlap(found, truth)
    return np.where(first + second == 0, 1.0, 2 * both / np.maximum(first + second, 1))


def events(found: Masks, truth: Masks, min_area: int) -> tuple[Real, Real]:
    """Per image [N], 0 or 1: is there a predicted component of `min_area` pixels (8-connected), and does one touch the truth?"""
    alarms, hits = np.zeros(len(found)), np.zeros(len(found))
    for row in np.flatnonzero(np.asarray(found).reshape(len(found), -1).any(1)):
        parts, _ = ndimage.label(found[row], EIGHT)
        areas = np.bincount(parts.ravel())
        areas[0] = 0
        large = areas >= min_area
        alarms[row] = large.any()
        hits[row] = (large[parts] & (np.asarray(truth[row]) > 0)).any()
    return alarms, hits


def scores(found: Masks, truth: Masks, min_area: int) -> dict[str, Ratio]:
    """All scores of one predictor on N images.

    iou, dice: mean over images. iou_defect, dice_defect, detection_rate: over images with a defect. false_alarm_rate,
    false_alarm_pixels (share of pixels): over clean images. iou_pooled, dice_pooled: from the pixels of all images together.
    """
    both, first, second = overlap(found, truth)
    one, defect = np.ones(len(both)), (second > 0).astype(np.float64)
    clean, area = 1 - defect, float(np.asarray(truth)[0].size)
    iou, dice = image_iou(found, truth), image_dice(found, truth)
    alarms, hits = events(found, truth, min_area)
    return {
        "iou": Ratio(iou, one),
        "iou_defect": Ratio(iou * defect, defect),
        "iou_pooled": Ratio(both, first + second - both),
        "dice": Ratio(dice, one),
        "dice_defect": Ratio(dice * defect, defect),
        "dice_pooled": Ratio(2 * both, first + second),
        "detection_rate": Ratio(hits * defect, defect),
        "false_alarm_rate": Ratio(alarms * clean, clean),
        "false_alarm_pixels": Ratio(first * clean, area * clean),
    }


def resampled(ratios: Mapping[str, Ratio], resamples: int, draw: torch.Generator) -> dict[str, Real]:
    """Each score on `resamples` bootstrap samples of the images [resamples]; NaN where undefined.

    Equal generator states give equal samples, whatever the scores: that is what pairs two predictors.
    """
    count = len(next(iter(ratios.values())).top)
    tops, bottoms = (np.stack([getattr(r, side) for r in ratios.values()], 1) for side in ("top", "bottom"))
    rows = []
    for start in range(0, resamples, per := max(CHUNK // count, 1)):
        size = min(per, resamples - start)
        index = torch.randint(count, (size, count), generator=draw)
        weights = torch.zeros(size, count, dtype=torch.float64).scatter_add_(1, index, torch.ones(size, count, dtype=torch.float64))
        with np.errstate(invalid="ignore", divide="ignore"):
            rows.append((weights.numpy() @ tops) / (weights.numpy() @ bottoms))
    return dict(zip(ratios, np.concatenate(rows).T, strict=True))


def interval(value: float | None, samples: Real, confidence: float) -> Interval:
    """Percentile interval (Efron & Tibshirani 1993, ch. 13) from bootstrap samples, those where the score is undefined left out."""
    known = samples[np.isfinite(samples)]
    if value is None or not len(known):
        return Interval(None, None, None)
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(value, float(low), float(high))


def difference(
    model: Mapping[str, Ratio], baseline: Mapping[str, Ratio], samples: tuple[Mapping[str, Real], Mapping[str, Real]], confidence: float
) -> dict[str, Interval]:
    """Model minus baseline for each score, on the same resampled images."""
    pairs = {}
    for name, ours in model.items():
        theirs = baseline[name].value
        value = None if ours.value is None or theirs is None else ours.value - theirs
        pairs[name] = interval(value, samples[0][name] - samples[1][name], confidence)
    return pairs


def verdict(gap: Interval) -> str:
    """What a difference with this interval shows: 'helped', 'hurt', or 'no difference shown' where it holds 0."""
    if gap.low is None or gap.high is None or gap.low <= 0 <= gap.high:
        return "no difference shown"
    return "helped" if gap.low > 0 else "hurt"
