"""The report of `worth`: learning curves, what each recipe is worth, differences, and the answer in a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from fabloom.kinds import Chart, ImageSet, Metric, Report, Table
from fabloom.kinds.metric import Better, Role
from fabloom.method import Context
from fabloom.plugins.blocks.intervals import APART, FEWEST, Interval, verdict

from .learning import spelled
from .nuisance import RATES, at_rate
from .params import WorthParams
from .tables import told
from .wording import SCORES as WORDS

if TYPE_CHECKING:
    from .worth import Found

HEADLINE = "defect_sensitivity"
RATE_SET = "--param rate=0.05"
"""What asks at another rate of alarms, in the pipeline `worth-it`."""
CALLED = {
    "defect_sensitivity": "defects found at the allowed alarms",
    "iou_defect": "IoU defect, model's threshold",
    "false_alarm_rate": "clean images with an alarm, model's threshold",
}
"""The first is at the threshold that the clean test images set, the others at the one that the model was trained for."""
LEAST = 0.05
"""Share of defects below which nothing was learned."""


def write(ctx: Context, params: WorthParams, images: ImageSet, found: Found, clean: int) -> Report:
    """Write it."""
    return Report.write(
        ctx,
        {"sources": found.sources, "clean_images": clean, **metrics(params, found)},
        tables={"Recipes by number of real images": scores(params, found), **by_nuisance(params, found), **versus(params, found)},
        charts={**curves(params, found), **nuisance_curves(params, found)},
        charts_first=True,
        verdict=answer(params, found, clean),
        notes=notes(params, found, clean),
    )


def metrics(params: WorthParams, found: Found) -> dict[str, Any]:
    """Scores by number of real images and recipe; with the fewest they are the headline, since that is where images are wanted."""
    told: dict[str, Any] = {}
    fewest, *more = found.sizes(params.baseline)
    for (recipe, size), place in found.places.items():
        control = recipe in params.controls
        row: dict[str, Metric] = {}
        for score, i in ((score, place.intervals[score]) for score in CALLED):
            role: Role = "control" if control else "headline" if (score, size) == (HEADLINE, fewest) else "detail"
            better: Better = "down" if score == "false_alarm_rate" else "up"
            # of one size recipes stand in the columns, of several in the rows
            label, meaning = f"{CALLED[score]}, {recipe}" if more else CALLED[score], meaning_of(params, score)
            row[score] = Metric(i.value, i.bounds, better=better, role=role, label=label, meaning=meaning)
        told.setdefault(f"{size} real", {})[recipe] = row
    return told


def meaning_of(params: WorthParams, score: str) -> str:
    """What a score says."""
    if score == "defect_sensitivity":
        return f"share of all true defects that a prediction touches, where at most {params.rate:.0%} of the clean images have an alarm"
    return WORDS[score][1]


def scores(params: WorthParams, found: Found) -> Table:
    """A row for each recipe and number of real images."""
    sizes = found.sizes(params.baseline)
    rows: list[list[Any]] = []
    for (recipe, size), place in sorted(found.places.items(), key=lambda item: (item[0][1], found.recipes.index(item[0][0]))):
        worth = found.worth.get((recipe, size), {})
        more = [spelled(worth[s], size, sizes) if s in worth else "" for s in (HEADLINE, "iou_defect")]
        rows.append([size, recipe, len(place.draws), *(told(place.intervals[s]) for s in CALLED), *more])
    columns = ("real images", "recipe", "draws", *CALLED.values())
    return Table([*columns, "worth in real images, by defects found", "the same, by IoU"], rows)


def by_nuisance(params: WorthParams, found: Found) -> dict[str, Table]:
    """How many defects are found at which rate of nuisance alarms, by the recipes that the answer is about."""
    rows = [
        [size, recipe, *(told(found.places[recipe, size].intervals[at_rate(rate)]) for rate in RATES)]
        for size in found.sizes(params.baseline)
        for recipe in leaders(params, found)
        if (recipe, size) in found.places
    ]
    columns = [f"{rate:.0%} of clean images alarm" for rate in RATES]
    return {"Defects found by the rate of nuisance alarms": Table(["real images", "recipe", *columns], rows)}


def nuisance_curves(params: WorthParams, found: Found) -> dict[str, Chart]:
    """The same as a chart for each number of real images."""
    made = {}
    for size in found.sizes(params.baseline):
        series: dict[str, list[list[float]]] = {}
        for recipe in leaders(params, found):
            for rate in RATES if (recipe, size) in found.places else ():
                i = found.places[recipe, size].intervals[at_rate(rate)]
                if i.value is not None and i.low is not None and i.high is not None:
                    series.setdefault(recipe, []).append([rate, round(i.value, 4), round(i.low, 4), round(i.high, 4)])
        title = f"Defects found by the rate of nuisance alarms, {size} real image{'s' * (size != 1)}"
        made[title] = Chart("share of clean images with an alarm", "share of defects found", series, wide=True)
    return made


def versus(params: WorthParams, found: Found) -> dict[str, Table]:
    """A table for each recipe that the others are held against: the baseline, and the best of the rivals."""
    tables = {}
    for other in (params.baseline, *best_of(params, found, [one for one in params.rivals if one in found.recipes])):
        rows = [
            [
                size,
                recipe,
                len(set(draws(found, recipe, size)) & set(draws(found, other, size))),
                *(told(gap[s]) for s in CALLED),
                verdict(gap[HEADLINE], found.sources),
            ]
            for (recipe, size, name), gap in sorted(found.gaps.items(), key=lambda item: (item[0][1], found.recipes.index(item[0][0])))
            if name == other
        ]
        if rows:
            tables[f"Minus {other} with the same real images (paired)"] = Table(
                ["real images", "recipe", "common draws", *CALLED.values(), "by defects found"], rows
            )
    return tables


def curves(params: WorthParams, found: Found) -> dict[str, Chart]:
    """Learning curves with their bands: those that the answer is about, then those of every recipe."""
    leading = leaders(params, found)
    made = drawn(params, found, leading, "")
    return made | drawn(params, found, found.recipes, ", every recipe") if len(leading) < len(found.recipes) else made


def leaders(params: WorthParams, found: Found) -> list[str]:
    """The baseline, the best recipe and the best rival by the share of defects found, what has sizes of its own (all there are, say), and
    the controls.
    """
    sizes = found.sizes(params.baseline)
    others = [one for one in found.recipes if one not in (params.baseline, *params.rivals, *params.controls)]
    apart = [one for one in others if not set(found.sizes(one)) & set(sizes)]
    rivals = [one for one in params.rivals if one in found.recipes]
    return [
        params.baseline,
        *best_of(params, found, others),
        *best_of(params, found, rivals),
        *apart,
        *(one for one in params.controls if one in found.recipes),
    ]


def best_of(params: WorthParams, found: Found, recipes: Sequence[str]) -> list[str]:
    """The recipe that finds most over all sizes of the baseline; none of none."""
    sizes = found.sizes(params.baseline)
    whole = [recipe for recipe in recipes if found.sizes(recipe) == sizes]
    return sorted(whole, key=lambda recipe: -sum(found.places[recipe, size].intervals[HEADLINE].value or 0.0 for size in sizes))[:1]


def draws(found: Found, recipe: str, size: int) -> tuple[int, ...]:
    """Those of a recipe at a size; none of one that is not there."""
    return found.places[recipe, size].draws if (recipe, size) in found.places else ()


def drawn(params: WorthParams, found: Found, recipes: Sequence[str], which: str) -> dict[str, Chart]:
    """A chart for each of two scores, of these recipes."""
    titles = {
        "defect_sensitivity": (f"Defects found where {params.rate:.0%} of clean images may have an alarm", "share of defects found"),
        "iou_defect": ("IoU on images with a defect", "IoU defect"),
    }
    made = {}
    for score, (title, axis) in titles.items():
        series: dict[str, list[list[float]]] = {}
        for recipe in recipes:
            for size in found.sizes(recipe):
                i = found.places[recipe, size].intervals[score]
                if i.value is not None and i.low is not None and i.high is not None:
                    series.setdefault(recipe, []).append([size, round(i.value, 4), round(i.low, 4), round(i.high, 4)])
        made[title + which] = Chart("real images with a defect", axis, series, wide=True)
    return made


def answer(params: WorthParams, found: Found, clean: int) -> str:
    """What to train on, for each number of real images that the baseline has, by the defects that are found."""
    if found.sources < FEWEST:
        return f"No answer: the test images come from {found.sources} sources, and fewer than {FEWEST} say nothing about others."
    if clean * params.rate < 1:
        least = ceil(1 / params.rate - 1e-9)
        return (
            f"No answer: {clean} clean test images cannot show an alarm on {params.rate:.0%} of them, which is less than one. Test on "
            f"{least} clean images or more, or give a higher rate ({RATE_SET}); a table and charts say what they do show."
        )
    most = max((place.intervals[HEADLINE].value or 0.0 for (recipe, _), place in found.places.items() if recipe not in params.controls))
    if most < LEAST:
        return (
            f"No answer: where {params.rate:.0%} of the clean images may have an alarm no recipe finds more than {most:.0%} of the "
            f"defects, with {max(size for _, size in found.places)} real images neither. They want more than this segmenter learns: "
            "more steps, larger tiles, or a reference beside each image."
        )
    said, alike = list[str](), dict[int, Interval]()
    for size in found.sizes(params.baseline):
        rows = {
            recipe: place.intervals[HEADLINE]
            for (recipe, at), place in found.places.items()
            if at == size and recipe not in params.controls and place.intervals[HEADLINE].value is not None
        }
        base = rows.pop(params.baseline, None)
        if base is not None and rows:
            best = max(rows, key=lambda recipe: rows[recipe].value or 0.0)
            if helps(params, found, size, best):
                said.append(_sentence(params, found, size, best, rows[best], base))
            else:
                alike[size] = base
    if not said and not alike:
        return f"Nothing stands beside {params.baseline} yet: give recipes with the same numbers of real images."
    if alike:
        numbers, shares = spoken([str(size) for size in alike]), spoken([f"{one.value:.0%}" for one in alike.values()])
        plural = "s" * (list(alike) != [1])
        said.append(f"with {numbers} real image{plural} no recipe is shown to find more than {params.baseline} ({shares})")
    found_by = f"Defects found where {params.rate:.0%} of the clean images may have an alarm: " + "; ".join(said) + "."
    helped = [size for size in found.sizes(params.baseline) if size not in alike]
    return " ".join([found_by, *beside_rivals(params, found, helped or found.sizes(params.baseline))])


def spoken(words: Sequence[str]) -> str:
    """Words joined as one says them: '5', '5 and 20', '1, 5 and 20'."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]


def helps(params: WorthParams, found: Found, size: int, recipe: str) -> bool:
    """Whether a recipe is shown to find more than the baseline."""
    gap = found.gaps.get((recipe, size, params.baseline))
    return gap is not None and verdict(gap[HEADLINE], found.sources) == "helped"


def beside_rivals(params: WorthParams, found: Found, sizes: Sequence[int]) -> list[str]:
    """What the best recipe that is no rival is against the best rival, at these numbers of real images; none without rivals."""
    said = []
    for size in sizes:
        scored = {recipe: place.intervals[HEADLINE].value or 0.0 for (recipe, at), place in found.places.items() if at == size}
        rivals = [recipe for recipe in params.rivals if recipe in scored]
        ours = [one for one in scored if one not in (*params.rivals, *params.controls, params.baseline)]
        if not rivals or not ours:
            continue
        best, rival = max(ours, key=scored.__getitem__), max(rivals, key=scored.__getitem__)
        if (gap := found.gaps.get((best, size, rival))) is not None:
            shown = {"helped": "more", "hurt": "fewer"}.get(verdict(gap[HEADLINE], found.sources), APART)
            said.append(f"with {size} real image{'s' * (size != 1)}, {best} minus {rival} {told(gap[HEADLINE])} ({shown})")
    return ["Beside the rivals that train nothing: " + "; ".join(said) + "."] if said else []


def _sentence(params: WorthParams, found: Found, size: int, best: str, ours: Interval, base: Interval) -> str:
    """What is best at a size, and what that is worth."""
    more = found.worth.get((best, size), {}).get(HEADLINE)
    known = more is not None and more.value is not None
    worth = f", worth {spelled(more, size, found.sizes(params.baseline))} further real images" if known and more else ""
    return f"with {size} real image{'s' * (size != 1)} {ours.value:.0%} by {best}, {base.value:.0%} by {params.baseline}{worth}"


def notes(params: WorthParams, found: Found, clean: int) -> list[str]:
    """How to read it."""
    draws = sorted({len(place.draws) for place in found.places.values()})
    lines = [
        f"Draws: {' or '.join(map(str, draws))} of the real images for each number of them; networks of one draw are averaged. Intervals: "
        f"{params.confidence:.0%} over test sources, and over draws where there are several (Student's t, wide for three).",
        f"Worth: the number of real images at which {params.baseline} (made monotone, interpolated in log n) reaches a recipe's score, "
        "minus the number that the recipe had. 'none' or '< N' is below what it reaches with the fewest, '> N' above what it reaches with "
        "the most, 'off the curve' above what it reaches with as many, 'undefined' where the curve is flat.",
        f"The threshold at which {params.rate:.0%} of the clean images may have an alarm is set by the clean test images, for each network "
        "its own: what a threshold that was set on other images finds may be less. The other two columns are at the model's own threshold. "
        f"Another rate ({RATE_SET}) trains nothing again.",
        "Every recipe has the same network and the same optimiser steps. Differences are of the same draws on the same test images.",
    ]
    lines += params.remarks
    if params.controls:
        lines.append(f"Controls, which must be worse than the rest: {', '.join(params.controls)}.")
    return lines
