"""What the report of `evaluate` shows: tables of the two protocols, pictures, and how to read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fabloom.kinds import ImageSet, Table
from fabloom.plugins.blocks.grey import GreyMap

from .intervals import FEWEST, TOO_FEW, Interval, verdict
from .metrics import MOVED, changed, iou_sd, scores
from .moves import IDENTITY
from .params import EvaluateParams
from .pictures import panel

if TYPE_CHECKING:
    from .evaluation import Scored

NAMES = {"iou_defect": "IoU of defect images", "detection_rate": "detection rate", "false_alarm_rate": "false-alarm rate"}
LOPSIDED = 0.25
"""Share of defect images whose detection a flip or shift must change to be named in a note."""
TRAINING_SCORES = ("iou", "iou_defect", "detection_rate", "false_alarm_rate", "iou_defect_moved")


def told(found: Interval) -> str:
    """'0.812 [0.790, 0.833]'."""
    if found.value is None:
        return "undefined"
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}]"


def rounded(value: float | None) -> float | None:
    """Four decimals, None where undefined."""
    return None if value is None or not np.isfinite(value) else round(float(value), 4)


def tables(images: ImageSet, predictors: Mapping[str, Scored]) -> dict[str, Table]:
    """The paper's protocol, the honest one, and what is behind their means. A store sorts by title, so titles are numbered."""
    trained = {name: p for name, p in predictors.items() if name != "nothing"}
    found = {
        "1 The paper's protocol: all images, IoU 1 for empty on empty": paper(predictors),
        "2 Honest protocol: defect and clean images apart": honest(predictors),
        "3 Honest protocol, by flip and shift of the test images": by_move(trained),
    }
    if any(p.trainings > 1 for p in trained.values()):
        found["4 By training"] = by_training(trained)
    if images.labels is not None:
        found["5 By class"] = by_class(np.asarray(images.labels), images.class_names, trained)
    return found


def paper(predictors: Mapping[str, Scored]) -> Table:
    """IoU as published: mean and population deviation over images."""
    rows = []
    for name, p in predictors.items():
        mean = p.intervals["iou"]
        rows.append([name, f"{mean.value:.3f} ± {iou_sd(p.marks[IDENTITY.name]):.3f}", told(mean)])
    return Table(["predictor", "IoU, mean ± sd over images", "mean with its interval"], rows)


def honest(predictors: Mapping[str, Scored]) -> Table:
    """Defect images alone, clean images alone, all pixels together, and the same over all moves."""
    columns = NAMES | {"iou_pooled": "pooled IoU"} | {f"{name}_moved": f"{NAMES[name]}, all moves" for name in MOVED}
    columns["detection_rate_every_move"] = "found in every move"
    rows = [[name, *(told(p.intervals[score]) for score in columns)] for name, p in predictors.items()]
    return Table(["predictor", *columns.values()], rows)


def by_move(trained: Mapping[str, Scored]) -> Table:
    """For each move of the test images, the scores that count defect and clean images apart, and what the move changes."""
    rows = []
    for move in next(iter(trained.values())).marks:
        row: list[Any] = [move]
        for p in trained.values():
            found = scores(p.marks[move])
            row += [rounded(v) for v in (*(found[score].value for score in MOVED), changed(p.marks[IDENTITY.name], p.marks[move]))]
        rows.append(row)
    columns = (*(NAMES[score] for score in MOVED), "detection changed by the move")
    return Table(["move", *(f"{name}: {column}" for name in trained for column in columns)], rows)


def by_training(trained: Mapping[str, Scored]) -> Table:
    """Each training of each predictor, and the deviation between them (n - 1)."""
    rows: list[list[Any]] = []
    for name, p in trained.items():
        each = [p.ratios[score].each for score in TRAINING_SCORES]
        rows += [[name, f"{repeat + 1}", *(rounded(values[repeat]) for values in each)] for repeat in range(p.trainings)]
        if p.trainings > 1:
            rows.append([name, "sd", *(rounded(p.ratios[score].training_sd) for score in TRAINING_SCORES)])
    return Table(["predictor", "training", *TRAINING_SCORES], rows)


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


def pictures(
    params: EvaluateParams, pixels: NDArray[np.uint8], truth: NDArray[np.bool_], predictors: Mapping[str, Scored]
) -> dict[str, NDArray[np.uint8]]:
    """Worst, median and best defect images of the model's first training, and the clean images with its largest false alarms."""
    found = {name: p.found for name, p in predictors.items() if name != "nothing"}
    marks = predictors["model"].marks[IDENTITY.name]
    iou, alarm, drawn = marks.iou[0], marks.found[0], marks.true[0] > 0
    order = np.flatnonzero(drawn)[np.argsort(iou[drawn], kind="stable")]
    middle = max((len(order) - params.shown) // 2, 0)
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


def notes(
    params: EvaluateParams, images: ImageSet, size: Mapping[str, int], predictors: Mapping[str, Scored], gaps: Mapping[str, Interval]
) -> list[str]:
    """How to read the numbers, and the plain statement."""
    nothing = predictors["nothing"]
    varied = ""
    if size["sources"] < size["distinct_images"]:
        varied = f" They come from {size['sources']} sources ({named(images)}); the scores describe those and no others."
    lines = [
        f"Test set: {size['images']} images, {size['distinct_images']} of them distinct, {size['defect_images']} with a defect and "
        f"{size['clean_images']} clean; none was trained on.{varied}",
        "iou is the mean over images, 1 where both masks are empty: predicting nothing scores "
        f"{nothing.intervals['iou'].value:.2f} ± {iou_sd(nothing.marks[IDENTITY.name]):.2f} here. "
        "Read iou_defect and false_alarm_rate beside it.",
        f"..._moved are means over the test images as they are, flipped each way{shifted(params)}, image and mask together: "
        "a network that knows one orientation alone falls here.",
        f"Intervals: {params.confidence:.0%}, {params.resamples} resamples of {resampled(size)}; {chance(predictors)}",
        f"An alarm is a predicted component of at least {params.min_area} pixels. Green outlines are true, red areas predicted.",
    ]
    return lines + lopsided(predictors) + statement(gaps, size["sources"])


def resampled(size: Mapping[str, int]) -> str:
    """What is drawn."""
    if size["sources"] < size["distinct_images"]:
        return f"the {size['sources']} sources of the test images, each with all of its images"
    return f"the {size['distinct_images']} distinct test images"


def named(images: ImageSet, most: int = 4) -> str:
    """The first names of the sources that the images have."""
    used = [images.source_names[index] for index in np.unique(np.asarray(images.source)).tolist()]
    return ", ".join(used[:most]) + (f" and {len(used) - most} more" if len(used) > most else "")


def shifted(params: EvaluateParams) -> str:
    """The shifts in words."""
    return f" and shifted by {', '.join(map(str, params.shifts))} pixels right and down" if params.shifts else ""


def chance(predictors: Mapping[str, Scored]) -> str:
    """What the intervals say about the randomness of training."""
    counts = {name: p.trainings for name, p in predictors.items() if name != "nothing"}
    if all(count == 1 for count in counts.values()):
        return "they do not cover the randomness of training (one training each; set repeats to 3 or more in unet.train)."
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    missing = [name for name, count in counts.items() if count == 1]
    without = f" The single training of the {missing[0]} is not covered." if missing else ""
    return f"they contain the choice of training ({listed} trainings) as a draw of Student's t, wide and approximate for three.{without}"


def lopsided(predictors: Mapping[str, Scored]) -> list[str]:
    """A warning for each predictor that finds a good part of the defects in one view of an image and not in another."""
    lines = []
    for name, p in predictors.items():
        shares = {move: changed(p.marks[IDENTITY.name], marks) or 0.0 for move, marks in p.marks.items()}
        listed = ", ".join(f"{move} in {share:.0%}" for move, share in shares.items() if share >= LOPSIDED)
        if listed:
            lines.append(f"Whether the {name} finds a defect depends on the view. Of the defect images, it changes by {listed}.")
    return lines


def statement(gaps: Mapping[str, Interval], sources: int) -> list[str]:
    """The verdict in words, nothing without a baseline."""
    if not gaps:
        return []
    if verdict(gaps["iou"], sources) == TOO_FEW:
        return [
            f"No verdict: the test images come from {sources} source{'s' * (sources != 1)}, and fewer than {FEWEST} show nothing about "
            f"others. Of these very ones, iou of the model minus that of the baseline is {told(gaps['iou'])}. Test on more files."
        ]
    said = {"helped": "The model's training set helped", "hurt": "The model's training set hurt"}
    first = said.get(verdict(gaps["iou"], sources), "No difference shown")
    moved = said.get(verdict(gaps["iou_defect_moved"], sources), "no difference shown")
    return [
        f"{first}: iou of the model minus that of the baseline is {told(gaps['iou'])}, paired.",
        f"On defect images over all flips and shifts: {told(gaps['iou_defect_moved'])}, {moved[:1].lower()}{moved[1:]}.",
    ]
