"""The task `evaluate`: every score of the generated images, beside the reference pair's and beside anchors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Metric, Report, Table
from fabloom.method import Context
from fabloom.plugins.blocks import patches
from fabloom.plugins.blocks.difference import Real, Rule, blur, grey
from fabloom.plugins.blocks.perceptual import Lpips
from fabloom.plugins.blocks.references import References, rule_of
from fabloom.plugins.blocks.references import find as find_references
from fabloom.plugins.blocks.registration import Register
from fabloom.plugins.blocks.weights import SIFID_STEMS, TRUNKS, MissingWeights

from . import defects, features, notes, pictures, sifid
from .comparison import Comparison, batched
from .copies import least_difference, noise_floor
from .joining import BEST, Joined, read_metrics
from .params import EvaluateParams
from .scores import Metrics, Summary

HEADLINE = "sliced_wasserstein"
"""Needs no weights, so that every report has it, and its anchors are of the same run. 0 is a copy, so neither way is better."""


@dataclass
class Findings:
    """What goes into the report, and by which distance images are called near."""

    metrics: Metrics
    notes: list[str] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)
    pictures: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    nearness: tuple[str, Real] | None = None


def evaluate(ctx: Context, params: EvaluateParams, images: ImageSet, reference: ImageSet, metrics: Sequence[Report]) -> Report:
    """The task `evaluate`."""
    given = Comparison.of(params, images, reference)
    rows = given.row, given.clean_row
    joined = read_metrics(metrics, images, reference, *rows)
    summary = Summary(ctx.seed, params.resamples, params.confidence)
    found = Findings({"images": len(given.images)})
    defect_scores(ctx, params, given, images, reference, summary, found)
    lpips_scores(ctx, params, given, summary, found)
    sifid_scores(ctx, given, summary, found)
    patch_scores(ctx, given, summary, found)
    copy_scores(params, given, found)
    joined_scores(joined, summary, found)
    found.pictures |= pictures.samples(given, params.shown)
    if found.nearness is not None:
        found.pictures |= pictures.extremes(given, *found.nearness)
    return Report.write(
        ctx, found.metrics, tables=found.tables, pictures=found.pictures, notes=[*found.notes, *notes.READING, notes.intervals(params)]
    )


def defect_scores(
    ctx: Context, params: EvaluateParams, given: Comparison, images: ImageSet, reference: ImageSet, summary: Summary, found: Findings
) -> None:
    """Defects by difference to the clean image; nothing without one, or where clean images are not of one place."""
    try:
        clean = held_against(ctx, params, given, images, reference)
    except DataError as problem:
        ctx.log(f"defects are not counted: {problem}")
        found.notes.append(notes.uncounted(problem))
        return
    if clean is None:
        found.notes.append(notes.NO_CLEAN)
        return
    values, published = grey(given.images), params.labels.preset == "published"
    pictures_of = list(clean.pictures(0, len(values)))
    placed = [clean.placer(picture).place(blur(value)) for value, picture in zip(values, pictures_of, strict=True)]
    rule = rule_of(params.labels, images, clean, placed)
    all_found = defects.Defects.find(values, pictures_of, clean, rule, placed, published)
    if not all_found.judged.any():
        found.notes.append(notes.uncounted(f"none of the images lies where the clean one does; the first {placed[0]}"))
        return
    own = own_count(given, reference, clean, rule)
    lines = None if clean.shared is None else all_found.by_line(clean.shared)
    found.metrics["defects"] = defects.metrics(all_found, own, lines, summary)
    found.tables |= defects.tables(all_found, lines)
    if clean.shared is not None:
        found.pictures |= pictures.locations(all_found.centres, int(all_found.judged.sum()), clean.shared)
    found.notes.append(notes.counting(rule, own, published=published))


def held_against(ctx: Context, params: EvaluateParams, given: Comparison, images: ImageSet, reference: ImageSet) -> References | None:
    """The chosen clean image; else each image's own reference, where it has one; else all clean images laid on one another; or None.

    Raises DataError for clean images of several places, as labelling does.
    """
    aligns = params.labels.aligns
    if params.clean_row is None and images.references is not None:
        own = np.asarray(images.references)
        alike = bool((own == own[:1]).all())
        return References.of_one(images, grey(own[:1])[0], aligns) if alike else find_references(ctx, images, None, aligns)
    if given.clean is None:
        return None
    if params.clean_row is not None:
        return References.of_one(images, grey(given.clean)[0], aligns)
    return find_references(ctx, images, reference, aligns)  # the median of several has less noise


def own_count(given: Comparison, reference: ImageSet, clean: References, rule: Rule) -> int | None:
    """Defects of the reference image itself: against the shared picture, else its own reference, else the pair's clean image."""
    if clean.shared is not None:
        picture = clean.shared
    elif reference.references is not None:
        picture = grey(np.asarray(reference.references[given.row : given.row + 1]))[0]
    elif given.clean is not None:
        picture = grey(given.clean)[0]
    else:
        return None
    image = grey(given.reference)
    placed = [Register.of(blur(picture), picture).place(blur(image[0]))]
    return int(defects.Defects.find(image, [picture], replace(clean, shared=None), rule, placed, off=True).counts[0])


def lpips_scores(ctx: Context, params: EvaluateParams, given: Comparison, summary: Summary, found: Findings) -> None:
    """LPIPS to the reference and among the images, for every net whose weights are there; the deviation of a pixel."""
    varied: Metrics = {"pixel_sd": float(given.images.std(0, dtype=np.float64).mean()) / given.deviation}
    for net in dict.fromkeys(params.nets):
        try:
            model = Lpips.load(net, ctx.device)
        except MissingWeights as problem:
            ctx.log(str(problem))
            found.notes.append(notes.left_out(f"LPIPS {net}", TRUNKS[net]))
            continue
        distances, among = features.lpips(ctx, model, given, params.neighbours)
        found.metrics[f"lpips_{net}"] = summary.distance(distances.values, distances.pair)
        first = found.nearness is None
        if first:
            found.nearness = f"LPIPS {net}", distances.values
            found.notes.append(notes.diversity(net, params.neighbours))
        if among is not None:
            name = "lpips" if first else f"lpips_{net}"
            varied |= summary.mean(name, among)
            if distances.pair:
                varied[f"{name}_ratio"] = varied[name].value / distances.pair
    found.metrics["diversity"] = varied


def sifid_scores(ctx: Context, given: Comparison, summary: Summary, found: Findings) -> None:
    """SIFID under the name of the weights it was computed with; nothing without weights."""
    try:
        name, stem = sifid.load(ctx.device)
    except MissingWeights as problem:
        ctx.log(str(problem))
        found.notes.append(notes.left_out("SIFID", SIFID_STEMS["sifid"]))
        return
    distances = features.sifid(ctx, stem, given)
    found.metrics[name] = summary.distance(distances.values, distances.pair)
    if name != "sifid":
        found.notes.append(notes.STAND_IN)


def patch_scores(ctx: Context, given: Comparison, summary: Summary, found: Findings) -> None:
    """Sliced Wasserstein and nearest patches, beside anchors measured alike."""
    goal = given.normal(given.reference)

    def score(pixels: NDArray[np.uint8]) -> torch.Tensor:
        images = given.normal(pixels)
        return torch.stack([patches.sliced_wasserstein(images, goal), *patches.nearest(images, goal)], 1)

    values = dict(zip(("sliced_wasserstein", "coherence", "completeness"), batched(ctx, "patches", given.images, score).T, strict=True))
    generated: Metrics = {}
    for name, column in values.items():
        generated |= summary.mean(name, column, role="headline" if name == HEADLINE else "detail")
    anchors = {
        title: {name: Metric(value, role="control") for name, value in zip(values, score(pixels)[0].tolist(), strict=True)}
        for title, pixels in given.anchors(ctx.seed).items()
    }
    pair = anchors["clean_reference"]["sliced_wasserstein"].value if "clean_reference" in anchors else None
    found.metrics["sliced_wasserstein"] = summary.distance(values["sliced_wasserstein"], pair)
    found.metrics["patches"] = {"generated": generated, **anchors}
    if found.nearness is None:
        found.nearness = "sliced Wasserstein distance", values["sliced_wasserstein"]


def copy_scores(params: EvaluateParams, given: Comparison, found: Findings) -> None:
    """How close the closest images are to the reference, in multiples of what a second acquisition would be."""
    reference = grey(given.reference)[0]
    same_place = None if given.clean is None or not given.one_place else grey(given.clean)[0]
    floor = noise_floor(reference, same_place)
    ratios = least_difference(grey(given.images), reference, params.reach) / floor
    found.metrics["copies"] = {
        "copy_share": Metric(float((ratios < params.copy_below).mean()), better="down"),
        "smallest_ratio": float(ratios.min()),
        "median_ratio": float(np.median(ratios)),
        "noise_floor": floor,
    }
    found.notes.append(notes.copying(params, floor, known=same_place is not None))
    if given.clean is not None and same_place is None:
        found.notes.append(notes.ELSEWHERE)


def joined_scores(joined: Sequence[Joined], summary: Summary, found: Findings) -> None:
    """Metrics of other plugins: the same resamples and intervals, a group of their name, a row of a table, a note."""
    rows: list[list[object]] = []
    for one in joined:
        head = one.head
        scores = summary.score(one.values, head.pair)
        found.metrics[head.name] = {**scores, **({"anchors": head.anchors} if head.anchors else {})}
        raw, ratio = scores["raw"], scores.get("ratio", Metric(None))
        low, high = raw.interval or (None, None)
        rows.append([head.name, raw.value, low, high, scores["sd"], head.pair, ratio.value, head.unit, BEST[head.higher_is_better]])
        found.notes.append(notes.joined(one))
    if rows:
        columns = ("metric", "mean", "low", "high", "sd", "reference pair", "ratio", "unit", "best")
        found.tables["Metrics of other plugins"] = Table(columns, rows)
