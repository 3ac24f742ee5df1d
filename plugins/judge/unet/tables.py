"""What is behind the means of a report of `evaluate`, as tables and charts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from fabloom.kinds import Chart, ImageSet, Table
from fabloom.plugins.blocks.intervals import Interval, interval, resampled, unanimous
from fabloom.plugins.blocks.metrics import MOVED, Ratio, changed, scores

from .moves import IDENTITY, in_words
from .params import EvaluateParams
from .sweep import RATES, named
from .wording import called

if TYPE_CHECKING:
    from .evaluation import HeldOut, Scored

TRAINING_SCORES = ("iou", "iou_defect", "detection_rate", "false_alarm_rate", "iou_defect_moved")


def told(found: Interval) -> str:
    """'0.812 [0.790, 0.833]'."""
    if found.value is None:
        return "undefined"
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def rounded(value: float | None) -> float | None:
    """Four decimals, None where undefined."""
    return None if value is None or not np.isfinite(value) else round(float(value), 4)


SIZES = (4, 16, 64, 256, 1024)
"""Areas in pixels at which a table of defect sizes begins a new row: each has twice the diameter of the one before."""


def tables(images: ImageSet, test: HeldOut, predictors: Mapping[str, Scored], params: EvaluateParams) -> dict[str, Table]:
    """What is behind the means: by class and size of the defects, by threshold, by flip and shift, by training."""
    trained = {name: p for name, p in predictors.items() if name != "nothing"}
    found = {"Defects by size": by_size(params, test, trained)} if len(test.defects) else {}
    names = images.mask_names
    if len(names) > 2 and len(test.defects):
        found["Defects by class"] = by_kind(params, test, names, trained)
    if images.labels is not None:
        found["Images by class"] = by_class(np.asarray(images.labels), images.class_names, trained)
    found["Defects found at a rate of false alarms (FROC)"] = free_response(trained)
    for name, p in trained.items():
        found[f"Thresholds of the {name}"] = thresholds(p)
    found["By flip and shift of the test images"] = by_move(trained)
    if any(p.trainings > 1 for p in trained.values()):
        found["By training"] = by_training(trained)
    return found


def charts(predictors: Mapping[str, Scored]) -> dict[str, Chart]:
    """FROC, precision and recall, and the scores over the threshold, of everything that was trained."""
    curves = {name: p.curve for name, p in predictors.items() if name != "nothing"}
    froc = {name: curve.points("false alarms", "sensitivity") for name, curve in curves.items()}
    precision = {name: [point[:2] for point in curve.points("recall", "precision")] for name, curve in curves.items()}
    ours = curves["model"]
    told = {"IoU defect": "iou", "defects found": "sensitivity", "precision": "precision", "recall": "recall"}
    over = {title: ours.by_level(score) for title, score in told.items()}
    made = {
        "FROC: defects found against false alarms": Chart("false alarms an image", "share of defects found", froc, wide=True),
        "Precision and recall of pixels": Chart("recall", "precision", precision),
        "The model over its threshold": Chart("threshold", "score", over, mark=ours.threshold),
    }
    return {title: chart for title, chart in made.items() if any(chart.series.values())}


def by_size(params: EvaluateParams, test: HeldOut, trained: Mapping[str, Scored]) -> Table:
    """How many of the defects of each size are found, at the threshold in use."""
    edges = [0, *SIZES, int(test.defects.area.max(initial=0)) + 1]
    size = np.digitize(test.defects.area, SIZES)
    labels = {index: f"{max(low, 1):,} to {high - 1:,} pixels" for index, (low, high) in enumerate(pairwise(edges)) if high > low}
    return apart("size", params, test, size, labels, trained)


def by_kind(params: EvaluateParams, test: HeldOut, names: Sequence[str], trained: Mapping[str, Scored]) -> Table:
    """How many of the defects of each class are found, at the threshold in use."""
    return apart("class", params, test, test.defects.kind.astype(np.int64), dict(enumerate(names)), trained)


def apart(
    what: str, params: EvaluateParams, test: HeldOut, sort: NDArray[np.int64], labels: Mapping[int, str], trained: Mapping[str, Scored]
) -> Table:
    """The share that is found of the defects [D] of each sort, with its interval over the sources of the test images."""
    rows = []
    for index in np.unique(sort).tolist():
        row: list[Any] = [labels[index], int((sort == index).sum())]
        for p in trained.values():
            sweep = p.seen.sweep
            hits = sweep.hits[:, sweep.levels.index(p.seen.threshold)] & (sort == index)
            every = test.defects.per_image(sort == index)
            ratio = Ratio(test.defects.per_image(hits), np.broadcast_to(every, (len(hits), len(every))))
            samples = resampled({"found": ratio}, test.groups, params.resamples, torch.Generator().manual_seed(0))["found"]
            ends = interval(ratio.value, samples, params.confidence)
            row.append(told(unanimous(ends, ratio, test.groups, params.confidence)))
        rows.append(row)
    return Table([what, "defects", *(f"found by the {name}" for name in trained)], rows)


def free_response(trained: Mapping[str, Scored]) -> Table:
    """The share of single defects that is found where an image may have so many false alarms, and the threshold for it."""
    rows: list[list[Any]] = []
    for rate in RATES:
        row: list[Any] = [f"at most {rate:g}"]
        for p in trained.values():
            level = p.curve.at_rate(rate)
            found = [told(p.curve.intervals[named(score, level)]) if level else "–" for score in ("sensitivity", "false alarms")]
            row += [*found, level]
        rows.append(row)
    columns = ("defects found", "false alarms", "threshold")
    return Table(["false alarms an image", *(f"{name}: {column}" for name in trained for column in columns)], rows)


def thresholds(p: Scored) -> Table:
    """All scores at every threshold."""
    columns = {
        "iou": "IoU defect", "sensitivity": "defects found", "false alarms": "false alarms an image", "precision": "precision of pixels",
        "recall": "recall of pixels",
    }  # fmt: skip
    rows = [[level, *(told(p.curve.intervals[named(score, level)]) for score in columns)] for level in p.curve.sweep.levels]
    return Table(["threshold", *columns.values()], rows)


def by_move(trained: Mapping[str, Scored]) -> Table:
    """For each move of the test images, the scores that count defect and clean images apart, and what the move changes."""
    rows = []
    for move in next(iter(trained.values())).marks:
        row: list[Any] = [in_words(move)]
        for p in trained.values():
            found = scores(p.marks[move])
            row += [rounded(v) for v in (*(found[score].value for score in MOVED), changed(p.marks[IDENTITY.name], p.marks[move]))]
        rows.append(row)
    columns = (*map(called, MOVED), "images with a defect: found in one view only")
    return Table(["test images", *(f"{name}: {column}" for name in trained for column in columns)], rows)


def by_training(trained: Mapping[str, Scored]) -> Table:
    """Each training of each predictor, and the deviation between them (n - 1)."""
    rows: list[list[Any]] = []
    for name, p in trained.items():
        each = [p.ratios[score].each for score in TRAINING_SCORES]
        rows += [[name, f"{repeat + 1}", *(rounded(values[repeat]) for values in each)] for repeat in range(p.trainings)]
        if p.trainings > 1:
            rows.append([name, "sd", *(rounded(p.ratios[score].training_sd) for score in TRAINING_SCORES)])
    return Table(["predictor", "training", *map(called, TRAINING_SCORES)], rows)


def by_class(labels: NDArray[np.int16], names: list[str], trained: Mapping[str, Scored]) -> Table:
    """For each class: images, and for each trained predictor the mean IoU and the share of images with an alarm."""
    marks = [p.marks[IDENTITY.name] for p in trained.values()]
    rows = []
    for index, label in enumerate(names):
        chosen = labels == index
        if chosen.any():
            values = (float(v[:, chosen].mean()) for m in marks for v in (m.iou, m.alarms))
            rows.append([label, int(chosen.sum()), *(rounded(v) for v in values)])
    return Table(["class", "images", *(f"{name}: {what}" for name in trained for what in ("IoU", "share with an alarm"))], rows)
