"""The task `misses`: every defect of a set with where it lies, how large and how plain it is, and whether a segmenter finds it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Metric, Model, Report, Table
from fabloom.method import Context
from fabloom.plugins.blocks.defects import levels_of, regions
from fabloom.plugins.blocks.difference import grey
from fabloom.plugins.blocks.references import name_of

from .hardness import COLUMNS, TABLE
from .params import MissesParams
from .portraits import Portraits
from .segmenter import Segmenter

SIZES = (16, 64, 256)
"""Areas in pixels at which a row of the table of sizes begins."""


@dataclass(frozen=True)
class Seen:
    """What is found at a threshold: which defects [D], and which of the clean images have an alarm [N]."""

    threshold: float
    found: NDArray[np.bool_]
    alarms: NDArray[np.bool_]

    @classmethod
    def at(cls, threshold: float, probability: NDArray[np.float32], portraits: Portraits, min_area: int) -> Self:
        """Of probabilities [N,H,W]."""
        found, _ = portraits.defects.met(probability > threshold, min_area)
        _, image, area = regions((probability > threshold) & portraits.defects.known)
        alarms = np.zeros(len(probability), bool)
        alarms[image[area >= min_area]] = True
        return cls(threshold, found, alarms)

    @classmethod
    def chosen(
        cls, params: MissesParams, own: float, probability: NDArray[np.float32], portraits: Portraits, clean: NDArray[np.bool_]
    ) -> Self:
        """At the model's own threshold, or at the one that keeps the rate and finds most; at that of the fewest alarms where none does."""
        if params.rate is None:
            return cls.at(own, probability, portraits, params.min_area)
        tried = [cls.at(level, probability, portraits, params.min_area) for level in levels_of(own)]
        fit = [one for one in tried if one.alarms[clean].mean() <= params.rate] or [min(tried, key=lambda one: one.alarms[clean].sum())]
        return max(fit, key=lambda one: (one.found.sum(), one.threshold))


def misses(ctx: Context, params: MissesParams, images: ImageSet, model: Model) -> Report:
    """The task `misses`."""
    if images.masks is None:
        raise DataError(f"set {images.key[:12]} has no masks, so that nobody can say what is missed; give one with masks")
    segmenter, masks = Segmenter.of(model), np.asarray(images.masks[...])
    clean = (masks == 0).all((1, 2))
    if params.rate is not None and not clean.any():
        raise DataError(f"set {images.key[:12]} has no clean image, so that no threshold follows from their false alarms; leave `rate` out")
    probability = segmenter.probabilities(ctx, images.images)
    portraits = Portraits.of(grey(np.asarray(images.images[...])), masks, probability)
    if not len(portraits):
        raise DataError(f"no image of set {images.key[:12]} has a defect: there is nothing to miss")
    seen = Seen.chosen(params, segmenter.threshold, probability, portraits, clean)
    missed = int((~seen.found).sum())
    share = rate(missed, len(portraits), params.confidence)
    metrics = {
        "missed_share": Metric(
            share.value, share.interval, better="down", role="headline", label="defects missed", meaning="Single defects that no predicted "
            "region touches, as a share of all of them."
        ),
        "false_alarm_rate": _alarms(int(seen.alarms[clean].sum()), int(clean.sum()), params.confidence),
        "defects": len(portraits), "missed": missed, "images": len(masks), "clean_images": int(clean.sum()), "threshold": seen.threshold,
    }  # fmt: skip
    tables = {"Missed by size": by_size(portraits, seen.found, params.confidence), TABLE: listed(images, portraits, seen.found)}
    return Report.write(ctx, metrics, tables=tables, verdict=said(missed, len(portraits), seen, clean), notes=notes(params))


def rate(events: int, of: int, confidence: float) -> Metric:
    """A share with Wilson's interval."""
    ends = binomtest(events, of).proportion_ci(confidence, method="wilson")
    return Metric(events / of, (float(ends.low), float(ends.high)))


def _alarms(events: int, of: int, confidence: float) -> Metric:
    known = rate(events, of, confidence) if of else Metric(None)
    meaning = "Clean images in which a region is predicted, as a share of them."
    return Metric(known.value, known.interval, better="down", label="clean images with a false alarm", meaning=meaning)


def by_size(portraits: Portraits, found: NDArray[np.bool_], confidence: float) -> Table:
    """Missed shares of small and large defects, with the mean contrast of those missed and of those found."""
    edges, rows = [1, *SIZES], list[list[Any]]()
    sort = np.digitize(portraits.area, SIZES)
    for index in np.unique(sort).tolist():
        inside = sort == index
        share = rate(int((inside & ~found).sum()), int(inside.sum()), confidence)
        contrasts = [round(float(portraits.contrast[inside & one].mean()), 1) if (inside & one).any() else None for one in (~found, found)]
        low, high = share.interval or (0, 0)
        told = f"{edges[index]} to {edges[index + 1] - 1} pixels" if index < len(SIZES) else f"{edges[index]} pixels and more"
        rows.append([told, int(inside.sum()), f"{share.value:.3f} [{low:.3f}, {high:.3f}]", *contrasts])
    return Table(["size", "defects", "missed", "contrast of those missed", "contrast of those found"], rows)


def listed(images: ImageSet, portraits: Portraits, found: NDArray[np.bool_]) -> Table:
    """One row for each defect, the missed ones first, for people and for `select`."""
    order = np.lexsort((np.arange(len(found)), found))
    rows = [
        [
            int(portraits.image[at]), name_of(images, int(portraits.image[at])), round(float(portraits.y[at]), 4),
            round(float(portraits.x[at]), 4), int(portraits.area[at]), round(float(portraits.contrast[at]), 2),
            round(float(portraits.sure[at]), 4), int(found[at]),
        ]
        for at in order.tolist()
    ]  # fmt: skip
    return Table(COLUMNS, rows)


def said(missed: int, of: int, seen: Seen, clean: NDArray[np.bool_]) -> str:
    """The result in a sentence."""
    alarms, many = int(seen.alarms[clean].sum()), int(clean.sum())
    beside = f", with a false alarm in {alarms} of {many} clean images" if many else ""
    return f"{missed} of {of} defects are missed at threshold {seen.threshold:g}{beside}."


def notes(params: MissesParams) -> list[str]:
    """How to read the tables."""
    return [
        "A defect is an 8-connected region of the mask, missed where no predicted region of "
        f"{params.min_area} pixels or more touches it. `down` and `right` are its centre as shares of the image's sides, `contrast` is how "
        "far its mean grey level lies from that of the clean pixels up to 3 around it, `probability` the largest on it.",
        "Intervals are Wilson's and count every defect as evidence of its own, which several of one image or file are not.",
    ]
