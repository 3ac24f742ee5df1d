"""The task `evaluate`: read, score, resample, compare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Report
from fabloom.method import Context
from fabloom.plugins.blocks.defects import Defects
from fabloom.plugins.blocks.intervals import Interval, drawn, interval, one_sided, unanimous, unseen
from fabloom.plugins.blocks.metrics import Ratio
from fabloom.plugins.blocks.sources import groups

from . import reporting
from .belonging import check
from .curves import Counts
from .events import Events
from .params import CONSTANT, EvaluateParams
from .ranking import auroc, image_scores

Real = NDArray[np.float64]
STREAM = "bootstrap"
FOUND = "found"
"""Share of single defects found at the rate of alarms."""
OWN = ("own_found", "own_alarms")
"""Defects found, and clean images with an alarm, by the masks that come with the maps."""


@dataclass(frozen=True)
class Truth:
    """Test images uint8 [N,C,H,W], their masks [N,H,W], single defects, which are clean [N], and the group [N] of each."""

    pixels: NDArray[np.uint8]
    masks: NDArray[np.uint8]
    defects: Defects
    clean: NDArray[np.bool_]
    groups: NDArray[np.int64]

    @property
    def sources(self) -> int:
        """Sources that the images come from."""
        return int(self.groups.max()) + 1


@dataclass(frozen=True)
class Entry:
    """One set of maps: scores of it over the whole set and on resamples, their intervals, the threshold of the rate, and curves."""

    samples: Mapping[str, Real]
    intervals: Mapping[str, Interval]
    ratios: Mapping[str, Ratio]
    threshold: float | None
    curves: Mapping[str, list[list[float]]]


def evaluate(ctx: Context, params: EvaluateParams, images: ImageSet, maps: Sequence[ImageSet]) -> Report:
    """Score all sets of maps on one test set and the same resamples, and write the report."""
    if len(maps) != len(params.entries):
        raise DataError(f"{len(maps)} sets of maps are given, and params.entries names {len(params.entries)}")
    truth = read(images)
    named = dict(zip(params.entries, maps, strict=True))
    for name, one in named.items():
        check(name, one, images)
    weights = drawn(truth.sources, params.resamples, ctx.generator(STREAM))
    found: dict[str, Entry] = {}
    with ctx.progress(len(named) + 1, unit="entry", name="score") as bar:
        for name, one in named.items():
            scores = np.asarray(one.scores).astype(np.float32)
            found[name] = scored(params, scores, truth, weights, None if one.masks is None else np.asarray(one.masks))
            bar.advance()
        found[CONSTANT] = scored(params, np.zeros(truth.masks.shape, np.float32), truth, weights, None)
        bar.advance()
    baseline = params.baseline or params.entries[-1]
    gaps = {name: minus(params, entry, found[baseline], truth) for name, entry in found.items() if name not in (baseline, CONSTANT)}
    return reporting.write(ctx, params, images, truth, named, found, gaps)


def read(images: ImageSet) -> Truth:
    """The test set. Raises DataError where it has no masks or no defect."""
    if images.masks is None:
        raise DataError(f"test set {images.key[:12]} has no masks; maps are judged against exact ones")
    masks = np.asarray(images.masks)
    defects = Defects.of(masks)
    if not len(defects):
        raise DataError(f"no image of test set {images.key[:12]} has a defect in its mask: there is nothing to find")
    known = defects.known.reshape(len(masks), -1).any(1)
    drawn_on = (defects.parts > 0).reshape(len(masks), -1).any(1)
    return Truth(np.asarray(images.images), masks, defects, np.logical_and(known, ~drawn_on), groups(images))


def scored(params: EvaluateParams, scores: NDArray[np.float32], truth: Truth, weights: Real, masks: NDArray[np.uint8] | None) -> Entry:
    """Scores of one set of maps [N,H,W]; the resamples of areas are taken at fewer levels, and moved to where the whole set is."""
    whole = np.ones((1, truth.sources))
    counts = Counts.of(scores, truth.defects, truth.groups)
    some = counts.thinned()
    exact, near = counts.areas(whole, params.limit), some.areas(whole, params.limit)
    samples = {name: values + exact[name] - near[name] for name, values in some.areas(weights, params.limit).items()}
    ends = {name: interval(known(exact[name]), values, params.confidence) for name, values in samples.items()}
    samples["image_auroc"], ends["image_auroc"] = whole_images(params, scores, truth, weights)
    events = Events.of(scores, truth.defects, truth.clean, params.min_area)
    (share,), (at,) = events.at_rate(truth.groups, whole, params.rate)
    samples[FOUND], _ = events.at_rate(truth.groups, weights, params.rate)
    ratios = {FOUND: Ratio(events.hits[at][None], events.every[None]), **own(params, masks, truth)}
    ends[FOUND] = interval(known(np.array([share])), samples[FOUND], params.confidence)
    samples["best_dice"], ends["best_dice"] = np.empty(0), Interval(counts.best_dice(), None, None)
    if masks is not None:
        ends["own_dice"] = Interval(dice(masks, truth), None, None)
        samples |= {name: by_source(ratios[name], truth.groups, weights) for name in OWN}
        ends |= {name: interval(ratios[name].value, samples[name], params.confidence) for name in OWN}
    ends |= {name: unanimous(ends[name], ratio, truth.groups, params.confidence) for name, ratio in ratios.items()}
    threshold = float(events.levels[at]) if np.isfinite(share) else None
    return Entry(samples, ends, ratios, threshold, {**counts.drawn(params.limit), "froc": events.froc()})


def whole_images(params: EvaluateParams, scores: NDArray[np.float32], truth: Truth, weights: Real) -> tuple[Real, Interval]:
    """How well the maps tell defect images from clean ones, and its interval; undefined without both."""
    used = np.flatnonzero(truth.clean | (truth.defects.per_image(np.ones(len(truth.defects))) > 0))
    values, defect = image_scores(np.where(truth.defects.known, scores, 0)[used]), ~truth.clean[used]
    if defect.all():
        return np.empty(0), Interval(None, None, None)
    samples = auroc(values, defect, truth.groups[used], weights)
    (whole,) = auroc(values, defect, truth.groups[used], np.ones((1, truth.sources)))
    return samples, interval(float(whole), samples, params.confidence)


def dice(masks: NDArray[np.uint8], truth: Truth) -> float:
    """Dice of the known pixels of all images together."""
    found, true = (masks > 0) & truth.defects.known, truth.defects.parts > 0
    return 2 * float((found & true).sum()) / max(int(found.sum() + true.sum()), 1)


def known(values: Real) -> float | None:
    """The one value, None where undefined."""
    return float(values[0]) if np.isfinite(values[0]) else None


def own(params: EvaluateParams, masks: NDArray[np.uint8] | None, truth: Truth) -> dict[str, Ratio]:
    """What the masks that come with the maps find, and on how many clean images they give an alarm."""
    if masks is None:
        return {}
    hit, alarms = truth.defects.met((masks > 0) & truth.defects.known, params.min_area)
    every, clean = truth.defects.per_image(np.ones(len(hit))), truth.clean.astype(np.float64)
    found = Ratio(truth.defects.per_image(hit)[None], every[None])
    return {OWN[0]: found, OWN[1]: Ratio(((alarms > 0) * clean)[None], clean[None])}


def by_source(ratio: Ratio, groups: NDArray[np.int64], weights: Real) -> Real:
    """A score on the resamples [R]; NaN where undefined."""
    top, bottom = (np.bincount(groups, np.atleast_2d(side)[0], minlength=weights.shape[1]) for side in (ratio.top, ratio.bottom))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: Real = (weights @ top) / (weights @ bottom)
    return found


def minus(params: EvaluateParams, ours: Entry, theirs: Entry, truth: Truth) -> dict[str, Interval]:
    """Differences of areas and of the defects found, on the same resamples."""
    pairs = {}
    for name in ("ap", "aupro", "auroc", FOUND):
        first, second = ours.intervals[name].value, theirs.intervals[name].value
        value, gaps = None if first is None or second is None else first - second, ours.samples[name] - theirs.samples[name]
        pairs[name] = interval(value, gaps, params.confidence, (-1.0, 1.0))
        if name == FOUND:
            pairs[name] = one_sided(pairs[name], gaps, unseen(ours.ratios[name], truth.groups, params.confidence), 1.0)
    return pairs
