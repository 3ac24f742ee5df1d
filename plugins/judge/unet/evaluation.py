"""The task `evaluate`: predict, score, resample, compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Metric, Model, Report
from fabloom.kinds.masks import drawn_domain, is_defect
from fabloom.kinds.metric import Better, Role
from fabloom.method import Context
from fabloom.plugins.blocks.defects import Defects, levels_of
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.intervals import (
    COUNTS,
    EVENTS,
    Interval,
    difference,
    interval,
    reach,
    resampled,
    unanimous,
    verdict,
    with_trainings,
)
from fabloom.plugins.blocks.metrics import Marks, Ratio, Real, iou_sd, over_moves, scores
from fabloom.plugins.blocks.seen import fingerprints, number_seen
from fabloom.plugins.blocks.sources import FEWEST, joined

from . import presentation, tables
from .cases import gallery
from .moves import IDENTITY, Move, moves
from .networks import load
from .params import EvaluateParams
from .prediction import logit, logit_maps, predict
from .sweep import Curve, Sweep, named, ratios
from .training import defect_masks
from .wording import SCORES

STREAM = "bootstrap"
VARYING = ("iou", "iou_defect", "iou_defect_moved")
"""Scores whose deviation between trainings is a metric."""

HEADLINE = "iou_defect"
"""What a report is about. IoU over all images is not: predicting nothing scores the share of clean ones."""


@dataclass(frozen=True)
class HeldOut:
    """Images uint8 [N,C,H,W], exact masks uint8 [N,H,W] (0, 1, 255 cannot tell), groups [N] of one origin, and how to move them.

    `distinct` is the number of images that differ at all; images of one source are one group, and so are copies. `defects` are the
    single ones, with their classes.
    """

    pixels: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    defects: Defects
    groups: NDArray[np.int64]
    distinct: int
    moves: tuple[Move, ...]


@dataclass(frozen=True)
class Seen:
    """What a predictor makes of the test images: of its first training masks and probabilities of 255 [N,H,W], of all of them marks by
    move and what each threshold finds; `threshold` is the one in use.
    """

    found: NDArray[np.bool_]
    sure: NDArray[np.uint8]
    marks: Mapping[str, Marks]
    sweep: Sweep
    threshold: float


@dataclass(frozen=True)
class Scored:
    """One predictor: what it makes of the images, its scores, bootstrap samples, intervals, and the same at every threshold."""

    seen: Seen
    ratios: Mapping[str, Ratio]
    samples: Mapping[str, Real]
    intervals: Mapping[str, Interval]
    curve: Curve

    @property
    def marks(self) -> Mapping[str, Marks]:
        """By move."""
        return self.seen.marks

    @property
    def trainings(self) -> int:
        """Number of networks that the scores are means over."""
        return len(self.ratios["iou"].each)


def evaluate(ctx: Context, params: EvaluateParams, images: ImageSet, model: Model, baseline: Model | None) -> Report:
    """Score all predictors on the same images and the same resamples, and say whether the model helped."""
    test = read(params, images)
    models = {"model": model} if baseline is None else {"model": model, "baseline": baseline}
    for name, given in models.items():
        check(name, given, images, test.pixels)
    start = ctx.generator(STREAM).get_state()
    predictors = {}
    total = len(test.moves) * sum(given.config["repeats"] for given in models.values())
    with ctx.progress(total, unit="pass", name="predict") as bar:
        for name, given in models.items():
            predictors[name] = scored(ctx, params, name, look(ctx, params, given, test, bar.advance), test, start)
    predictors["nothing"] = scored(ctx, params, "nothing", blind(params, test), test, start)
    gaps = {} if baseline is None else compare(params, predictors, test)
    size = sizes(test)
    metrics: dict[str, Any] = {**size, **{name: summary(name, p, size["defect_sources"]) for name, p in predictors.items()}}
    if gaps:
        told = {score: Metric(i.value, i.bounds) for score, i in gaps.items()}
        metrics["difference"] = {**told, "verdict": verdict(gaps[HEADLINE], size["defect_sources"], params.margin)}
    ours = predictors["model"].seen
    return Report.write(
        ctx,
        metrics,
        tables=tables.tables(images, test, predictors, params),
        charts=tables.charts(predictors),
        pictures=presentation.pictures(params, test.pixels, is_defect(test.truth), predictors),
        gallery=gallery(images, test.pixels, test.truth, test.defects, ours.found, ours.sure, params.min_area),
        verdict=presentation.said(params, images, predictors["model"], gaps, size["defect_sources"], HEADLINE),
        notes=presentation.notes(params, images, size, predictors, gaps),
    )


def read(params: EvaluateParams, images: ImageSet) -> HeldOut:
    """The test set. Raises DataError where it has no masks, or is too small for a shift."""
    if images.masks is None:
        raise DataError(f"test set {images.key[:12]} has no masks; evaluation needs exact ones")
    pixels, drawn = np.asarray(images.images), np.asarray(images.masks)
    truth = defect_masks(drawn)
    _, copies = np.unique(fingerprints(pixels), return_inverse=True)
    groups = joined(copies, None if images.source is None else np.asarray(images.source))
    return HeldOut(pixels, truth, Defects.of(drawn), groups, int(copies.max()) + 1, moves(params.shifts, *truth.shape[1:]))


def sizes(test: HeldOut) -> dict[str, int]:
    """How many images of which sort."""
    images, drawn = len(test.truth), drawn_domain(test.truth) > 0
    defects, sources = int(drawn.sum()), int(test.groups.max()) + 1
    return {
        "images": images, "distinct_images": test.distinct, "sources": sources, "defect_sources": len(np.unique(test.groups[drawn])),
        "defect_images": defects, "clean_images": images - defects,
    }  # fmt: skip


def check(name: str, model: Model, images: ImageSet, pixels: NDArray[np.uint8]) -> None:
    """Raise DataError for a model of other images, and for one that was trained on a test image."""
    config = model.config
    if config.get("role") != "unet":
        raise DataError(f"{name} {model.key[:12]} is no segmenter (role '{config.get('role')}'); give one of unet.train")
    if "repeats" not in config:
        raise DataError(f"{name} {model.key[:12]} was written by an older unet.train; run its training step again")
    if config["image"][0] != pixels.shape[1]:
        raise DataError(f"{name} {model.key[:12]} takes {config['image'][0]} channels, test set {images.key[:12]} has {pixels.shape[1]}")
    if shared := number_seen(model, pixels):
        raise DataError(
            f"{shared} of {len(pixels)} test images were used to train '{name}' {model.key[:12]}: the score would be memory, not skill. "
            "Give the test step another seed, or other files."
        )


def threshold_of(params: EvaluateParams, model: Model) -> float:
    """The threshold that is asked for; else the model's own, if it has one, else 0.5."""
    return params.threshold or float(model.config.get("threshold") or 0.5)


def look(ctx: Context, params: EvaluateParams, model: Model, test: HeldOut, advance: Callable[[], None]) -> Seen:
    """Have every training of a model predict the test images, as they are and moved."""
    config, threshold = model.config, threshold_of(params, model)
    grey, levels = GreyMap(*config["grey"]), levels_of(threshold)
    parts: dict[str, list[Marks]] = {move.name: [] for move in test.moves}
    sweeps: list[Sweep] = []
    for net in load(model, ctx.device):
        for move in test.moves:
            pixels, truth = move.of(test.pixels), move.of(test.truth)
            if move is IDENTITY:
                maps = np.concatenate(list(logit_maps(net, pixels, grey, config["depth"], ctx.device, batch=params.batch)))
                sweeps.append(Sweep.of(maps, levels, truth, test.defects, params.min_area))
                found = maps > logit(threshold)
                if len(sweeps) == 1:
                    first, sure = found, levels_of_grey(maps)
            else:
                found = predict(net, pixels, grey, config["depth"], ctx.device, threshold=threshold, batch=params.batch)
            parts[move.name].append(Marks.of(found, truth, params.min_area))
            advance()
    return Seen(first, sure, {name: Marks.stacked(trainings) for name, trainings in parts.items()}, Sweep.stacked(sweeps), threshold)


def levels_of_grey(maps: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Probabilities of logits as uint8, 255 for 1."""
    sure: NDArray[np.uint8] = (255 / (1 + np.exp(-maps.clip(-30, 30)))).round().astype(np.uint8)
    return sure


def blind(params: EvaluateParams, test: HeldOut) -> Seen:
    """A predictor that finds no defect anywhere."""
    nothing, sure = np.full(test.truth.shape, -30.0, np.float32), np.zeros(test.truth.shape, np.uint8)
    threshold = params.threshold or 0.5
    marks = {move.name: Marks.stacked([Marks.of(nothing > 0, move.of(test.truth), params.min_area)]) for move in test.moves}
    sweep = Sweep.stacked([Sweep.of(nothing, (threshold,), test.truth, test.defects, params.min_area)])
    return Seen(nothing > 0, sure, marks, sweep, threshold)


def scored(ctx: Context, params: EvaluateParams, name: str, seen: Seen, test: HeldOut, start: Any) -> Scored:
    """Scores of one predictor with their intervals; all predictors start from one state of the stream, so differences are paired."""
    marks = seen.marks
    by_level = ratios(seen.sweep, test.defects, marks[IDENTITY.name].true[0])
    single = {
        "defect_sensitivity": by_level[named("sensitivity", seen.threshold)],
        COUNTS[0]: by_level[named("false alarms", seen.threshold)],
    }
    found = scores(marks[IDENTITY.name]) | single | over_moves(list(marks.values()))
    every = found | by_level
    draw = ctx.generator(STREAM)
    draw.set_state(start)
    samples = with_trainings(every, resampled(every, test.groups, params.resamples, draw), ctx.generator(f"trainings_{name}"))
    ends = {score: interval(r.value, samples[score], params.confidence, (0.0, reach(score))) for score, r in every.items()}
    if name != "nothing":
        ends |= {s: unanimous(ends[s], r, test.groups, params.confidence) for s, r in every.items() if s.startswith(EVENTS)}
    curve = Curve(seen.threshold, seen.sweep, {score: ends[score] for score in by_level})
    return Scored(seen, found, samples, {score: ends[score] for score in found}, curve)


def compare(params: EvaluateParams, predictors: Mapping[str, Scored], test: HeldOut) -> dict[str, Interval]:
    """Model minus baseline."""
    ours, theirs = predictors["model"], predictors["baseline"]
    return difference(ours.ratios, theirs.ratios, (ours.samples, theirs.samples), params.confidence, test.groups)


def summary(name: str, predictor: Scored, sources: int) -> dict[str, Any]:
    """All numbers of a predictor; what is no model is a control of the model's, where there are sources enough for a verdict."""
    found = described(name, predictor.intervals, "control" if sources >= FEWEST else "detail")
    found["iou_sd"] = explained(Metric(iou_sd(predictor.marks[IDENTITY.name])), name, "iou_sd")
    if name != "nothing":
        found["trainings"] = explained(Metric(predictor.trainings), name, "trainings")
    if predictor.trainings > 1:
        found |= {f"{score}_training_sd": predictor.ratios[score].training_sd for score in VARYING}
    return found


def described(name: str, intervals: Mapping[str, Interval], beside: Role) -> dict[str, Any]:
    """Scores of a predictor as metrics: fewer false alarms are better, more of everything else."""
    found: dict[str, Any] = {}
    for score, i in intervals.items():
        role: Role = beside if name != "model" else "headline" if score == HEADLINE else "detail"
        better: Better = "down" if score.startswith("false_alarm") else "up"
        found[score] = explained(Metric(i.value, i.bounds, better=better, role=role), name, score)
    return found


def explained(metric: Metric, name: str, score: str) -> Metric:
    """With the label and meaning of the score, in the column of the model alone: the others stand beside it."""
    if name != "model" or score not in SCORES:
        return metric
    label, meaning = SCORES[score]
    return replace(metric, label=label, meaning=meaning)
