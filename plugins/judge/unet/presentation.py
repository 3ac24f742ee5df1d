"""What the report of `evaluate` shows beside its numbers: pictures, the verdict, and how to read it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fabloom.kinds import ImageSet
from fabloom.plugins.blocks import truth as makers
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.intervals import EQUIVALENT, FEWEST, TOO_FEW, Interval, verdict, within
from fabloom.plugins.blocks.metrics import changed, iou_sd

from .moves import IDENTITY, in_words
from .params import EvaluateParams
from .pictures import panel
from .tables import told

if TYPE_CHECKING:
    from .evaluation import Scored

LOPSIDED = 0.25
"""Share of defect images whose detection a flip or shift must change to be named in a note."""


def pictures(
    params: EvaluateParams, pixels: NDArray[np.uint8], truth: NDArray[np.bool_], predictors: Mapping[str, Scored]
) -> dict[str, NDArray[np.uint8]]:
    """The worst defect images of the model's first training, and the clean images with its largest false alarms, by all predictors."""
    found = {name: p.seen.found for name, p in predictors.items() if name != "nothing"}
    marks = predictors["model"].marks[IDENTITY.name]
    iou, alarm, drawn = marks.iou[0], marks.found[0], marks.true[0] > 0
    chosen = {
        "Worst defect images": np.flatnonzero(drawn)[np.argsort(iou[drawn], kind="stable")],
        "Clean images, largest false alarms first": np.flatnonzero(~drawn)[np.argsort(-alarm[~drawn], kind="stable")],
    }
    rows, grey = ", ".join(["image", *found]), GreyMap.fit(pixels, margin=0.0)
    return {
        f"{title} (rows: {rows})": panel(pixels[index], truth[index], [masks[index] for masks in found.values()], grey)
        for title, order in chosen.items()
        if len(index := order[: params.shown])
    }


def notes(
    params: EvaluateParams, images: ImageSet, size: Mapping[str, int], predictors: Mapping[str, Scored], gaps: Mapping[str, Interval]
) -> list[str]:
    """How to read the numbers, and the plain statement."""
    nothing = predictors["nothing"]
    varied = ""
    if size["sources"] < size["distinct_images"]:
        varied = f" They come from {size['sources']} sources ({some_names(images)}); the scores describe those and no others."
    lines = [
        f"Test set: {size['images']} images, {size['distinct_images']} of them distinct, {size['defect_images']} with a defect and "
        f"{size['clean_images']} clean; none was trained on.{varied}",
        "iou is the mean over images, 1 where both masks are empty: predicting nothing scores "
        f"{nothing.intervals['iou'].value:.2f} ± {iou_sd(nothing.marks[IDENTITY.name]):.2f} here. "
        "Read iou_defect and false_alarm_rate beside it.",
        f"..._moved are means over the test images as they are, flipped each way{shifted(params)}, image and mask together: "
        "a network that knows one orientation alone falls here.",
        f"Intervals: {params.confidence:.0%}, {params.resamples} resamples of {what_is_drawn(size)}; {chance(predictors)}",
        f"An alarm is a predicted component of at least {params.min_area} pixels. Green outlines are true, red areas predicted.",
    ]
    return [*filter(None, [makers.told(images)]), *lines, *lopsided(predictors), *statement(params, gaps, size["defect_sources"])]


def what_is_drawn(size: Mapping[str, int]) -> str:
    """What is drawn."""
    if size["sources"] < size["distinct_images"]:
        return f"the {size['sources']} sources of the test images, each with all of its images"
    return f"the {size['distinct_images']} distinct test images"


def some_names(images: ImageSet, most: int = 4) -> str:
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
        listed = ", ".join(f"{in_words(move)} in {share:.0%}" for move, share in shares.items() if share >= LOPSIDED)
        if listed:
            lines.append(
                f"Whether the {name} finds a defect depends on the view. Of the defect images, other ones are found when they are {listed}."
            )
    return lines


def few(sources: int) -> str:
    """That images with a defect come from too few sources."""
    return (
        f"the test images with a defect come from {sources} source{'s' * (sources != 1)}, and fewer than {FEWEST} show nothing about others"
    )


def statement(params: EvaluateParams, gaps: Mapping[str, Interval], sources: int) -> list[str]:
    """What the paired differences say beside the verdict, nothing without a baseline; `sources` are those of images with a defect."""
    if not gaps:
        return []
    if sources < FEWEST:
        return [
            f"No verdict: {few(sources)}. Of these very ones, iou_defect of the model minus that of the baseline is "
            f"{told(gaps['iou_defect'])}. Test on more files."
        ]
    said = {"helped": "The model's training set helped", "hurt": "The model's training set hurt"}
    said |= {EQUIVALENT: f"Equivalent to the baseline's within {params.margin:g}"}
    lines = []
    for score, where in (
        ("iou_defect", "on defect images"),
        ("iou_defect_moved", "on them over all flips and shifts"),
        ("iou", "on all images"),
    ):
        if gaps[score].value is not None:
            found = said.get(verdict(gaps[score], sources, params.margin), "Not told apart")
            lines.append(f"{found} {where}: {score} of the model minus that of the baseline is {told(gaps[score])}, paired.")
    return lines


def said(params: EvaluateParams, images: ImageSet, model: Scored, gaps: Mapping[str, Interval], sources: int, score: str) -> str:
    """What is read first: what is found, how that stands to the baseline, and whose truth it was held against."""
    stands = verdict_of(params, gaps, sources, score) if gaps else f"That says little: {few(sources)}." if sources < FEWEST else ""
    return " ".join(filter(None, (findings(model, score), stands, makers.told(images))))


def findings(model: Scored, score: str) -> str:
    """How many of the defect images and of the clean ones have an alarm, and the headline score; what is undefined is left out."""
    parts = []
    for event, sentence in (("detection_rate", "finds {} with a defect ({})"), ("false_alarm_rate", "false alarms on {} ({})")):
        ends, ratio = model.intervals[event], model.ratios[event]
        every = int(np.atleast_2d(ratio.bottom)[0].sum())
        if ends.value is not None and ends.low is not None and ends.high is not None:
            many = f"{'an average of ' * (model.trainings > 1)}{ends.value * every:.3g} of {every} "
            what = "images" if event == "detection_rate" else f"clean image{'s' * (every != 1)}"
            parts.append(sentence.format(many + what, f"{ends.value:.0%} [{ends.low:.0%}, {ends.high:.0%}]"))
    found = "; ".join(parts)
    ends = model.intervals[score]
    if ends.value is not None:
        found += f"; IoU on defect images {ends.value:.2f} [{ends.low:.2f}, {ends.high:.2f}]"
    return f"{found[0].upper()}{found[1:]}." if found else ""


def verdict_of(params: EvaluateParams, gaps: Mapping[str, Interval], sources: int, score: str) -> str:
    """The verdict on the headline score as a sentence; '' without a baseline."""
    if not gaps or gaps[score].value is None:
        return ""
    size = sorted(abs(end) for end in gaps[score].bounds or ())
    gap = f"{abs(gaps[score].value or 0.0):.3f} [{', '.join(f'{end:.3f}' for end in size)}]"
    small = f", which is less than the margin of {params.margin:g}" * within(gaps[score], params.margin)
    return {
        "helped": f"The model is better than the baseline, by {gap} on the same images{small}.",
        "hurt": f"The model is worse than the baseline, by {gap} on the same images{small}.",
        EQUIVALENT: f"The model is equivalent to the baseline within {params.margin:g}: {told(gaps[score])} on the same images.",
        TOO_FEW: f"No verdict: {few(sources)}.",
    }.get(
        verdict(gaps[score], sources, params.margin),
        f"The model is not told apart from the baseline, nor shown to be equivalent to it within {params.margin:g}: "
        f"{told(gaps[score])} on the same images.",
    )
