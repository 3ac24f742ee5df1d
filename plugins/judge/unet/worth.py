"""The task `worth`: segmenters of several recipes and numbers of real images, on one test set, as learning curves.

Every recipe has several draws of its real images, and a network or more for each. A draw is the unit: networks of one draw are averaged,
and the choice of the draw is in the intervals as the choice of a training is in those of `evaluate`. Recipes of one draw had the same
images, so their differences are paired by draw and by test image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model, Report
from fabloom.method import Context
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.intervals import EVENTS, Interval, difference, interval, resampled, unanimous, with_trainings
from fabloom.plugins.blocks.metrics import Marks, Ratio, Real

from . import nuisance, worth_report
from .evaluation import HeldOut, check, read
from .learning import worth
from .networks import load
from .nuisance import RATES, at_rate
from .params import EvaluateParams, WorthParams
from .prediction import logit, logit_maps

STREAM = "bootstrap"
SCORES = ("iou_defect", "defect_sensitivity", "false_alarm_rate")
"""IoU of images with a defect and clean images with an alarm, both at the model's threshold; single defects found at the rate of alarms."""


@dataclass(frozen=True)
class Place:
    """A recipe with so many real images: its scores over draws [D,N], on resamples of the test images, and their intervals."""

    recipe: str
    size: int
    draws: tuple[int, ...]
    ratios: Mapping[str, Ratio]
    samples: Mapping[str, Real]
    intervals: Mapping[str, Interval]


@dataclass(frozen=True)
class Found:
    """All that was measured: places by recipe and size, what each is worth by score, and paired differences to other recipes."""

    places: Mapping[tuple[str, int], Place]
    worth: Mapping[tuple[str, int], Mapping[str, Interval]]
    gaps: Mapping[tuple[str, int, str], Mapping[str, Interval]]
    sources: int

    @property
    def recipes(self) -> list[str]:
        """In the order of the cells."""
        return list(dict.fromkeys(recipe for recipe, _ in self.places))

    def sizes(self, recipe: str) -> list[int]:
        """Numbers of real images of a recipe, rising."""
        return sorted(size for name, size in self.places if name == recipe)


def compare(ctx: Context, params: WorthParams, images: ImageSet, models: Sequence[Model]) -> Report:
    """Score all models on one test set and write the report."""
    if len(models) != len(params.cells):
        raise DataError(f"{len(models)} models are given, and params.cells names {len(params.cells)}")
    test = read(EvaluateParams(shifts=()), images)
    clean = int((test.truth.reshape(len(test.truth), -1).max(1) == 0).sum())
    if not clean or not len(test.defects):
        raise DataError(f"test set {images.key[:12]} needs images with a defect and clean ones, for rates of both")
    for cell, model in zip(params.cells, models, strict=True):
        check(f"{cell.recipe} of {cell.size}", model, images, test.pixels)
    marked: dict[tuple[str, int], dict[int, Mapping[str, Ratio]]] = {}
    with ctx.progress(len(models), unit="model", name="predict") as bar:
        for cell, model in zip(params.cells, models, strict=True):
            marked.setdefault((cell.recipe, cell.size), {})[cell.draw] = scored(ctx, params, model, test)
            bar.advance()
    start = ctx.generator(STREAM).get_state()
    places = {}
    for (recipe, size), by_draw in marked.items():
        ctx.generator(STREAM).set_state(start)
        places[recipe, size] = place(ctx, params, recipe, size, by_draw, test)
    found = Found(places, worths(params, places), gaps(ctx, params, places, test, start), int(test.groups.max()) + 1)
    return worth_report.write(ctx, params, images, found, clean)


def scored(ctx: Context, params: WorthParams, model: Model, test: HeldOut) -> dict[str, Ratio]:
    """Scores of one model [N], means over the networks that it holds."""
    config = model.config
    threshold = float(config.get("threshold") or 0.5)
    rows: list[dict[str, Ratio]] = []
    for net in load(model, ctx.device):
        parts = logit_maps(net, test.pixels, GreyMap(*config["grey"]), config["depth"], ctx.device, batch=params.batch)
        maps = np.concatenate(list(parts))
        marks = Marks.of(maps > logit(threshold), test.truth, params.min_area)
        every = test.defects.per_image(np.ones(len(test.defects)))
        defect = (marks.true > 0).astype(np.float64)
        clean = (marks.area > 0) * (1 - defect)
        rates = (params.rate, *RATES)
        hits = test.defects.per_image(nuisance.found(maps, clean > 0, test.defects, rates, params.min_area))
        rows.append({
            "iou_defect": Ratio(marks.iou * defect, defect),
            "defect_sensitivity": Ratio(hits[0], every),
            "false_alarm_rate": Ratio(marks.alarms * clean, clean),
            **{at_rate(rate): Ratio(one, every) for rate, one in zip(RATES, hits[1:], strict=True)},
        })  # fmt: skip
    return {score: Ratio(np.mean([row[score].top for row in rows], 0), ratio.bottom) for score, ratio in rows[0].items()}


def place(ctx: Context, params: WorthParams, recipe: str, size: int, by_draw: Mapping[int, Mapping[str, Ratio]], test: HeldOut) -> Place:
    """A recipe at a size from the scores of its draws."""
    ratios = {score: stacked([by_draw[draw][score] for draw in sorted(by_draw)]) for score in next(iter(by_draw.values()))}
    samples, ends = measured(ctx, params, ratios, test, f"draws of {recipe} at {size}")
    return Place(recipe, size, tuple(sorted(by_draw)), ratios, samples, ends)


def measured(
    ctx: Context, params: WorthParams, ratios: Mapping[str, Ratio], test: HeldOut, stream: str
) -> tuple[dict[str, Real], dict[str, Interval]]:
    """Samples and intervals of scores; the stream of resamples stands where all comparisons begin."""
    drawn = resampled(ratios, test.groups, params.resamples, ctx.generator(STREAM))
    samples = with_trainings(ratios, drawn, ctx.generator(stream))
    ends = {score: interval(r.value, samples[score], params.confidence) for score, r in ratios.items()}
    ends |= {s: unanimous(ends[s], r, test.groups, params.confidence) for s, r in ratios.items() if s.startswith(EVENTS)}
    return samples, ends


def stacked(ratios: Sequence[Ratio]) -> Ratio:
    """[D,N] of D of [N]."""
    return Ratio(np.stack([r.top for r in ratios]), np.stack([r.bottom for r in ratios]))


def worths(params: WorthParams, places: Mapping[tuple[str, int], Place]) -> dict[tuple[str, int], dict[str, Interval]]:
    """What each recipe is worth in real images of the baseline, by score; nothing where the baseline has one size alone."""
    curve = [places[params.baseline, size] for name, size in sorted(places) if name == params.baseline]
    sizes = [one.size for one in curve]
    found: dict[tuple[str, int], dict[str, Interval]] = {}
    if len(sizes) < 2:
        return found
    for at, one in places.items():
        if one.recipe in (params.baseline, *params.controls) or one.size > sizes[-1]:
            continue  # more real images than the curve has: nothing can be read off it
        found[at] = {
            score: worth(
                one.intervals[score].value, one.samples[score], one.size, sizes, [base.intervals[score].value for base in curve],
                np.stack([base.samples[score] for base in curve], 1), params.confidence,
            )
            for score in ("iou_defect", "defect_sensitivity")
        }  # fmt: skip
    return found


def gaps(
    ctx: Context, params: WorthParams, places: Mapping[tuple[str, int], Place], test: HeldOut, start: torch.Tensor
) -> dict[tuple[str, int, str], dict[str, Interval]]:
    """(recipe, size, other): scores of a recipe minus those of another with the same real images, paired by draw and by test image.

    Two recipes are compared once; the other way round is the same with its sign turned.
    """
    found: dict[tuple[str, int, str], dict[str, Interval]] = {}
    for (recipe, size), ours in places.items():
        for other in (params.baseline, *params.rivals):
            theirs = places.get((other, size))
            if (turned := found.get((other, size, recipe))) is not None:
                found[recipe, size, other] = {score: one.turned() for score, one in turned.items()}
                continue
            if other == recipe or theirs is None or (common := sorted(set(ours.draws) & set(theirs.draws))) == []:
                continue
            sides = [{s: _of(one, s, common) for s in SCORES} for one in (ours, theirs)]
            paired = {s: Ratio(sides[0][s].top - sides[1][s].top, sides[0][s].bottom) for s in SCORES}
            ctx.generator(STREAM).set_state(start)
            drawn = resampled(paired, test.groups, params.resamples, ctx.generator(STREAM))
            samples = with_trainings(paired, drawn, ctx.generator(f"draws of {recipe} and {other} at {size}"))
            nothing = {s: np.zeros_like(samples[s]) for s in SCORES}
            found[recipe, size, other] = difference(sides[0], sides[1], (samples, nothing), params.confidence, test.groups)
    return found


def _of(one: Place, score: str, draws: Sequence[int]) -> Ratio:
    """A score of some of the draws."""
    at = [one.draws.index(draw) for draw in draws]
    return Ratio(one.ratios[score].top[at], one.ratios[score].bottom[at])
