"""The task `rank`: maps of images of which only is known whether they have a defect."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Metric, Report, Table
from fabloom.method import Context
from fabloom.plugins.blocks.intervals import FEWEST, Interval, drawn, interval
from fabloom.plugins.blocks.sources import groups

from .belonging import check
from .params import RankParams
from .ranking import auroc, image_scores
from .reporting import told

BRIGHTNESS, CONSTANT = "mean brightness", "constant"
"""Controls in every report: whether the two kinds of image differ in their light alone, and chance."""
MEANING = "chance that an image with a defect scores higher than a clean one"


@dataclass(frozen=True)
class Ranked:
    """Image AUROC of one entry, and the shares of clean and of defect images on which its masks find something."""

    value: Interval
    alarms: float | None
    found: float | None


def rank(ctx: Context, params: RankParams, images: ImageSet, maps: Sequence[ImageSet]) -> Report:
    """The task `rank`."""
    if len(maps) != len(params.entries):
        raise DataError(f"{len(maps)} sets of maps are given, and params.entries names {len(params.entries)}")
    if images.domain is None:
        raise DataError(f"test set {images.key[:12]} does not say which images have a defect (domain)")
    defect = np.asarray(images.domain) == 1
    if defect.all() or not defect.any():
        raise DataError(f"test set {images.key[:12]} has {int(defect.sum())} images with a defect of {len(defect)}: both kinds are needed")
    whose = groups(images)
    weights = drawn(int(whose.max()) + 1, params.resamples, ctx.generator("bootstrap"))
    found: dict[str, Ranked] = {}
    for name, one in zip(params.entries, maps, strict=True):
        check(name, one, images)
        masks: NDArray[np.bool_] | None = None if one.masks is None else np.any(np.asarray(one.masks) > 0, axis=(1, 2))
        found[name] = ranked(params, image_scores(np.asarray(one.scores).astype(np.float32)), defect, whose, weights, masks)
    light = np.asarray(images.images).mean((1, 2, 3), dtype=np.float64)
    found[BRIGHTNESS] = better(ranked(params, light, defect, whose, weights, None), ranked(params, -light, defect, whose, weights, None))
    found[CONSTANT] = ranked(params, np.zeros(len(defect)), defect, whose, weights, None)
    return written(ctx, params, defect, int(whose.max()) + 1, found)


def ranked(
    params: RankParams, values: NDArray[np.float64], defect: NDArray[np.bool_], whose: NDArray[np.int64], weights: NDArray[np.float64],
    masks: NDArray[np.bool_] | None,
) -> Ranked:  # fmt: skip
    """Of one entry."""
    samples = auroc(values, defect, whose, weights)
    (whole,) = auroc(values, defect, whose, np.ones((1, weights.shape[1])))
    alarms, seen = (None, None) if masks is None else (float(masks[~defect].mean()), float(masks[defect].mean()))
    return Ranked(interval(float(whole), samples, params.confidence), alarms, seen)


def better(one: Ranked, other: Ranked) -> Ranked:
    """The one with the higher value: light may be lower or higher."""
    return one if (one.value.value or 0) >= (other.value.value or 0) else other


def written(ctx: Context, params: RankParams, defect: NDArray[np.bool_], sources: int, found: Mapping[str, Ranked]) -> Report:
    """The report."""
    controls = (BRIGHTNESS, CONSTANT)
    metrics = {
        name: {
            "image_auroc": Metric(
                one.value.value, one.value.bounds, better="up", role="control" if name in controls else "headline", label="image AUROC",
                meaning=MEANING,
            )
        }
        for name, one in found.items()
    }  # fmt: skip
    rows = [[name, told(one.value), *(None if v is None else round(v, 4) for v in (one.found, one.alarms))] for name, one in found.items()]
    best = max((name for name in found if name not in controls), key=lambda name: found[name].value.value or 0)
    said = f"{best} ranks a defect image above a clean one with a chance of {told(found[best].value)}; mean brightness alone, "
    said += f"{told(found[BRIGHTNESS].value)}."
    if sources < FEWEST:
        said = f"No answer: the test images come from {sources} sources, and fewer than {FEWEST} say nothing about others."
    notes = [
        f"Test set: {len(defect)} images of {sources} sources, {int(defect.sum())} with a defect. Only that is known of them: where the "
        "defects are nobody checked.",
        "Where brightness ranks as well as the maps do, the two kinds of image may come from different tools, and the maps from that.",
        f"Intervals: {params.confidence:.0%}, {params.resamples} resamples of the sources, the same for all entries.",
    ]
    table = Table(["maps", "image AUROC", "defect images with a finding", "clean images with a finding"], rows)
    sizes = {"images": len(defect), "sources": sources, "defect_images": int(defect.sum())}
    return Report.write(ctx, {**sizes, **metrics}, tables={"Whole images": table}, verdict=said, notes=notes)
