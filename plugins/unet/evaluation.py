"""The task `evaluate`: predict, score, resample, compare, and show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fabloom.artifacts import ImageSet, Model, Report, Table
from fabloom.context import Context
from fabloom.errors import DataError
from fabloom.plugins.blocks.grey import GreyMap

from .method import EvaluateParams
from .metrics import Interval, Ratio, Real, difference, events, image_iou, interval, resampled, scores, verdict
from .networks import load
from .pictures import panel
from .prediction import predict
from .training import SEEN, fingerprints

STREAM = "bootstrap"


@dataclass(frozen=True)
class Scored:
    """One predictor on the test set: masks [N,H,W], scores, bootstrap samples, intervals."""

    found: NDArray[np.bool_]
    ratios: dict[str, Ratio]
    samples: dict[str, Real]
    intervals: dict[str, Interval]


def evaluate(ctx: Context, params: EvaluateParams, images: ImageSet, model: Model, baseline: Model | None) -> Report:
    """Score all predictors on the same images and the same resamples, and say whether the model helped."""
    if images.masks is None:
        raise DataError(f"test set {images.key[:12]} has no masks; evaluation needs exact ones")
    models = {"model": model} if baseline is None else {"model": model, "baseline": baseline}
    pixels, truth = np.asarray(images.images), np.asarray(images.masks)
    for name, given in models.items():
        check(name, given, images, pixels)
    counts = resampling_state(ctx)
    predictors = {}
    for name, given in models.items():
        net, config = load(given, ctx.device)
        found = predict(net, pixels, GreyMap(*config["grey"]), config["depth"], ctx.device, threshold=params.threshold, batch=params.batch)
        predictors[name] = scored(ctx, params, found, truth, counts)
    predictors["nothing"] = scored(ctx, params, np.zeros(truth.shape, bool), truth, counts)
    gaps = {} if baseline is None else compare(params, predictors)
    defects = int(truth.reshape(len(truth), -1).any(1).sum())
    size = {"images": len(truth), "defect_images": defects, "clean_images": len(truth) - defects}
    metrics: dict[str, Any] = {**size, **{name: flat(p.intervals) for name, p in predictors.items()}}
    if gaps:
        metrics["difference"] = {**flat(gaps), "verdict": verdict(gaps["iou"])}
    shown = {name: p.found for name, p in predictors.items() if name != "nothing"}
    return Report.write(
        ctx,
        metrics,
        tables=tables(params, images, truth, predictors),
        pictures=pictures(pixels, truth, shown, params),
        notes=notes(params, size, predictors, gaps),
    )


def check(name: str, model: Model, images: ImageSet, pixels: NDArray[np.uint8]) -> None:
    """Raise DataError for a model of other images, and for one that was trained on a test image."""
    config = model.config
    if config.get("role") != "unet":
        raise DataError(f"{name} {model.key[:12]} is no segmenter (role '{config.get('role')}'); give one of unet.train")
    if config["image"][0] != pixels.shape[1]:
        raise DataError(f"{name} {model.key[:12]} takes {config['image'][0]} channels, test set {images.key[:12]} has {pixels.shape[1]}")
    shared = np.isin(fingerprints(pixels), model.state(SEEN)[""].numpy()).sum()
    if shared:
        raise DataError(
            f"{shared} of {len(pixels)} test images were used to train '{name}' {model.key[:12]}: the score would be memory, not skill. "
            "Give the test step another seed, or other files."
        )


def resampling_state(ctx: Context) -> Any:
    """Where the bootstrap stream starts: every predictor is resampled from here, so that differences are paired."""
    return ctx.generator(STREAM).get_state()


def scored(ctx: Context, params: EvaluateParams, found: NDArray[np.bool_], truth: NDArray[np.uint8], state: Any) -> Scored:
    """Scores of one predictor with their intervals."""
    draw = ctx.generator(STREAM)
    draw.set_state(state)
    ratios = scores(found, truth, params.min_area)
    samples = resampled(ratios, params.resamples, draw)
    return Scored(found, ratios, samples, {n: interval(r.value, samples[n], params.confidence) for n, r in ratios.items()})


def compare(params: EvaluateParams, predictors: Mapping[str, Scored]) -> dict[str, Interval]:
    """Model minus baseline."""
    ours, theirs = predictors["model"], predictors["baseline"]
    return difference(ours.ratios, theirs.ratios, (ours.samples, theirs.samples), params.confidence)


def flat(intervals: Mapping[str, Interval]) -> dict[str, Any]:
    """`iou`, `iou_ci` (its low and high end) and so on."""
    return {name: value for score, i in intervals.items() for name, value in ((score, i.value), (f"{score}_ci", [i.low, i.high]))}


def tables(params: EvaluateParams, images: ImageSet, truth: NDArray[np.uint8], predictors: Mapping[str, Scored]) -> dict[str, Table]:
    """Scores by class, where the test set has classes; the scores over all images are the metrics."""
    if images.labels is None:
        return {}
    return {"By class": by_class(params, np.asarray(images.labels), images.class_names, truth, predictors)}


def told(found: Interval) -> str:
    """'0.812 [0.790, 0.833]'."""
    if found.value is None:
        return "undefined"
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def by_class(
    params: EvaluateParams, labels: NDArray[np.int16], names: list[str], truth: NDArray[np.uint8], predictors: Mapping[str, Scored]
) -> Table:
    """For each class: images, and for each trained predictor the mean IoU and the share of images with an alarm."""
    shown = {name: p for name, p in predictors.items() if name != "nothing"}
    parts = {name: (image_iou(p.found, truth), events(p.found, truth, params.min_area)[0]) for name, p in shown.items()}
    rows = []
    for index, label in enumerate(names):
        chosen = labels == index
        if chosen.any():
            rows.append([label, int(chosen.sum()), *(round(float(v[chosen].mean()), 4) for pair in parts.values() for v in pair)])
    return Table(["class", "images", *(f"{name}: {what}" for name in shown for what in ("IoU", "share with an alarm"))], rows)


def pictures(
    pixels: NDArray[np.uint8], truth: NDArray[np.uint8], found: Mapping[str, NDArray[np.bool_]], params: EvaluateParams
) -> dict[str, NDArray[np.uint8]]:
    """Worst, median and best defect images of the model, and the clean images with the largest false alarms."""
    iou = image_iou(found["model"], truth)
    drawn = truth.reshape(len(truth), -1).any(1)
    order = np.flatnonzero(drawn)[np.argsort(iou[drawn], kind="stable")]
    middle = max((len(order) - params.shown) // 2, 0)
    alarm = found["model"].reshape(len(truth), -1).sum(1)
    clean = np.flatnonzero(~drawn)[np.argsort(-alarm[~drawn], kind="stable")]
    chosen = {
        "Worst defect images": order[: params.shown],
        "Median defect images": order[middle : middle + params.shown],
        "Best defect images": order[::-1][: params.shown],
        "Clean images, largest false alarms first": clean[: params.shown],
    }
    rows, grey = ", ".join(["image", *found]), GreyMap.fit(pixels, margin=0.0)
    return {
        f"{title} (rows: {rows})": panel(pixels[index], truth[index], [masks[index] for masks in found.values()], grey)
        for title, index in chosen.items()
        if len(index)
    }


def notes(params: EvaluateParams, size: Mapping[str, int], predictors: Mapping[str, Scored], gaps: Mapping[str, Interval]) -> list[str]:
    """How to read the numbers, and the plain statement."""
    lines = [
        f"Test set: {size['images']} images, {size['defect_images']} with a defect and {size['clean_images']} clean; none was trained on.",
        "iou is the mean over images, 1 where both masks are empty: predicting nothing scores "
        f"{predictors['nothing'].intervals['iou'].value:.3f} here. Read iou_defect and false_alarm_rate beside it.",
        f"Intervals: percentile bootstrap, {params.resamples} resamples of the {size['images']} test images, {params.confidence:.0%}; "
        "they do not cover the randomness of training.",
        f"An alarm is a predicted component of at least {params.min_area} pixels. Green outlines are true, red areas predicted.",
    ]
    if gaps:
        gap = gaps["iou"]
        said = {"helped": "The model's training set helped", "hurt": "The model's training set hurt"}
        statement = said.get(verdict(gap), "No difference shown")
        lines.append(f"{statement}: iou of the model minus that of the baseline is {told(gap)}, paired.")
    return lines
