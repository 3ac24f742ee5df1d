"""The report of `evaluate`: the table that a buyer asks for first, curves, pictures, how to read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import find_boundaries

from fabloom.kinds import Chart, ImageSet, Metric, Report, Table
from fabloom.kinds.metric import Better, Role
from fabloom.method import Context
from fabloom.plugins.blocks import truth as makers
from fabloom.plugins.blocks.intervals import FEWEST, Interval, verdict
from fabloom.plugins.blocks.sheets import coloured, stretched, tiled

from .params import CONSTANT, EvaluateParams

if TYPE_CHECKING:
    from .evaluation import Entry, Truth

HEADLINE = "found"
AREAS = {"ap": "pixel AP", "aupro": "AUPRO", "auroc": "pixel AUROC"}
MARK = (90, 220, 90)
SIDE = 96
"""Pixels that a small image is enlarged to, about."""


def write(
    ctx: Context,
    params: EvaluateParams,
    images: ImageSet,
    truth: Truth,
    maps: Mapping[str, ImageSet],
    found: Mapping[str, Entry],
    gaps: Mapping[str, Mapping[str, Interval]],
) -> Report:
    """Write it."""
    size = {
        "images": len(truth.masks), "sources": truth.sources, "clean_images": int(truth.clean.sum()), "defects": len(truth.defects),
        "defect_pixels": round(float((truth.defects.parts > 0).sum() / truth.defects.known.sum()), 6),
    }  # fmt: skip
    tables = {"Maps of scores": board(params, found)}
    if gaps:
        baseline = params.baseline or params.entries[-1]
        tables[f"Minus {baseline} (paired)"] = versus(gaps, truth.sources)
    return Report.write(
        ctx,
        {**size, **{name: metrics(params, name, entry) for name, entry in found.items()}},
        tables=tables,
        charts=charts(params, found),
        pictures={f"Scores, dark to light (rows: image with the true outline, {', '.join(maps)})": sheet(params, truth, maps)},
        verdict=answer(params, found, truth.sources),
        notes=notes(params, images, truth, size),
    )


def labels(params: EvaluateParams) -> dict[str, tuple[str, str, Better]]:
    """Of each score what it is called, what it says, and which way is better."""
    return {
        "found": (
            f"defects found, {params.rate:.0%} of clean alarm",
            f"share of all single defects that are found where at most {params.rate:.0%} of the clean test images have an alarm",
            "up",
        ),
        "ap": ("pixel AP", "average precision of pixels: mean share of true ones among those that score as high, over all true ones", "up"),
        "aupro": (
            f"AUPRO to {params.limit:g}",
            f"mean share of a defect that is covered, over shares of false positive pixels up to {params.limit:g}",
            "up",
        ),
        "auroc": ("pixel AUROC", "chance that a pixel of a defect scores higher than another one", "up"),
        "image_auroc": ("image AUROC", "chance that an image with a defect scores higher than a clean one", "up"),
        "own_dice": ("Dice, own threshold", "Dice of the masks of the maps, over the pixels of all images together", "up"),
        "best_dice": (
            "best Dice (oracle)",
            "Dice at the threshold that is best on these very test images: not known before",
            "up",
        ),
        "own_found": ("defects found, own threshold", "share of all single defects that the masks of the maps find", "up"),
        "own_alarms": (
            "clean images with alarm, own threshold",
            "share of clean images on which the masks of the maps find something",
            "down",
        ),
    }


def metrics(params: EvaluateParams, name: str, entry: Entry) -> dict[str, Metric]:
    """Scores of one entry."""
    made = {}
    for score, (label, meaning, better) in labels(params).items():
        if score in entry.intervals:
            i = entry.intervals[score]
            role: Role = "control" if name == CONSTANT else "headline" if score == HEADLINE else "detail"
            made[score] = Metric(i.value, i.bounds, better=better, role=role, label=label, meaning=meaning)
    return made


def told(found: Interval | None) -> str:
    """'0.812 [0.790, 0.833]'; '' for none."""
    if found is None:
        return ""
    if found.value is None:
        return "undefined"
    return f"{found.value:.3f}" + ("" if found.low is None else f" [{found.low:.3f}, {found.high:.3f}]")


def board(params: EvaluateParams, found: Mapping[str, Entry]) -> Table:
    """A row for each set of maps."""
    names = labels(params)
    rows = [
        [name, *(told(entry.intervals.get(score)) for score in names), None if entry.threshold is None else round(entry.threshold, 4)]
        for name, entry in found.items()
    ]
    return Table(["maps", *(label for label, _, _ in names.values()), "threshold of that rate"], rows)


def versus(gaps: Mapping[str, Mapping[str, Interval]], sources: int) -> Table:
    """Paired differences."""
    rows = [
        [name, told(gap[HEADLINE]), *(told(gap[score]) for score in AREAS), verdict(gap[HEADLINE], sources), verdict(gap["ap"], sources)]
        for name, gap in gaps.items()
    ]
    return Table(["maps", "defects found", *AREAS.values(), "by defects found", "by pixel AP"], rows)


def charts(params: EvaluateParams, found: Mapping[str, Entry]) -> dict[str, Chart]:
    """FROC, overlap over false positives, precision over recall."""
    shown = {name: entry.curves for name, entry in found.items()}
    return {
        "FROC: defects found against false alarms": Chart(
            "false alarms an image", "share of defects found", {name: curves["froc"] for name, curves in shown.items()}, wide=True
        ),
        f"Overlap of single defects (AUPRO is the mean height up to {params.limit:g})": Chart(
            "share of false positive pixels", "overlap", {name: curves["overlap"] for name, curves in shown.items()}
        ),
        "Precision and recall of pixels": Chart("recall", "precision", {name: curves["precision"] for name, curves in shown.items()}),
    }


def sheet(params: EvaluateParams, truth: Truth, maps: Mapping[str, ImageSet]) -> NDArray[np.uint8]:
    """Images with a defect, evenly spread, and a clean one with the outline of the truth; below them the map of each entry."""
    with_defect, clean = np.unique(truth.defects.image), np.flatnonzero(truth.clean)
    many = min(params.shown, len(with_defect) + min(1, len(clean)))
    rows = with_defect[np.linspace(0, len(with_defect) - 1, max(1, many - min(1, len(clean)))).round().astype(int)]
    rows = np.concatenate([rows, clean[:1]])
    by, scale = max(1, -(-max(truth.masks.shape[1:]) // (2 * SIDE))), max(1, SIDE // truth.masks.shape[2])
    pixels = truth.pixels[rows][:, :, ::by, ::by]
    top = enlarged(stretched(pixels, float(truth.pixels.min()), float(truth.pixels.max())), scale)
    drawn = enlarged(truth.defects.parts[rows][:, ::by, ::by] > 0, scale)
    top[np.stack([find_boundaries(mask, mode="outer") for mask in drawn])] = MARK
    lines = [top]
    for one in maps.values():
        assert one.scores is not None
        values = np.stack([one.scores[int(row)] for row in rows]).astype(np.float64)[:, ::by, ::by]
        low, high = float(values.min()), float(values.max())
        lines.append(enlarged(np.stack([coloured((v - low) / max(high - low, 1e-9)) for v in values]), scale))
    return tiled(lines, len(rows))


def enlarged(tiles: NDArray[Any], scale: int) -> NDArray[Any]:
    """Each pixel of [N,H,W,..] as a square."""
    return tiles.repeat(scale, 1).repeat(scale, 2)


def answer(params: EvaluateParams, found: Mapping[str, Entry], sources: int) -> str:
    """How many defects each entry finds at the rate, the most first."""
    if sources < FEWEST:
        return f"No answer: the test images come from {sources} sources, and fewer than {FEWEST} say nothing about others."
    ends = {name: entry.intervals[HEADLINE] for name, entry in found.items() if name != CONSTANT}
    said = [
        f"{name} finds {i.value:.0%} [{i.low:.0%}, {i.high:.0%}]"
        for name, i in sorted(ends.items(), key=lambda item: -(item[1].value or 0.0))
        if i.value is not None and i.low is not None and i.high is not None
    ]
    if not said:
        return "The test set has no clean image, so that no rate of false alarms can be kept: read pixel AP and AUPRO."
    return f"Of the single defects, where at most {params.rate:.0%} of the clean images have an alarm, {'; '.join(said)}."


def notes(params: EvaluateParams, images: ImageSet, truth: Truth, size: Mapping[str, Any]) -> list[str]:
    """How to read it."""
    lines = [
        f"Test set: {size['images']} images of {size['sources']} sources, {size['clean_images']} of them clean; {size['defects']} single "
        f"defects, on {size['defect_pixels']:.2%} of the pixels.",
        f"A map that scores every pixel alike has a pixel AP of {size['defect_pixels']:.4f}, an AUROC of 0.5, an AUPRO of "
        f"{params.limit / 2:g}, and finds nothing. Maps that are worse are worse than none.",
        "Areas are over all thresholds; the threshold of the rate is found on these very test images, alike for all. A threshold that was "
        "chosen before is judged by the columns of its own.",
        f"A finding is a region of at least {params.min_area} pixels above the threshold that touches a true defect; what touches none is "
        "a false alarm.",
        f"Intervals: {params.confidence:.0%}, {params.resamples} resamples of the sources, the same for all entries.",
    ]
    if size["clean_images"] < 1 / params.rate:
        lines.append(
            f"{size['clean_images']} clean test images cannot show a rate of {params.rate:.0%}: it comes to no alarm at all. Test on more."
        )
    return [*filter(None, [makers.told(images)]), *lines]
