"""The task `evaluate`: every score of the generated images, beside the reference pair's and beside anchors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fabloom.kinds import ImageSet, Metric, Report, Table
from fabloom.method import Context
from fabloom.plugins.blocks import patches
from fabloom.plugins.blocks.copies import least_differences
from fabloom.plugins.blocks.difference import grey
from fabloom.plugins.blocks.spectra import bands

from . import fingerprints, notes, pictures, saying
from .comparison import Comparison, batched
from .copies import noise_floor
from .counting import defect_scores
from .denoising import Denoised
from .joining import BEST, Joined, read_metrics
from .params import EvaluateParams
from .perceived import lpips_scores, sifid_scores
from .scores import Findings, Metrics, Summary

HEADLINE = "sliced_wasserstein"
"""Needs no weights, so that every report has it, and its anchors are of the same run. 0 is a copy, so neither way is better."""


def evaluate(ctx: Context, params: EvaluateParams, images: ImageSet, reference: ImageSet, metrics: Sequence[Report]) -> Report:
    """The task `evaluate`."""
    given = Comparison.of(params, images, reference)
    rows = given.row, given.clean_row
    joined = read_metrics(metrics, images, reference, *rows)
    summary = Summary(ctx.seed, params.resamples, params.confidence)
    found = Findings({"images": len(given.images)})
    taken = given.denoised(given.images, ctx)
    smooth = given.smooth(taken.smooth)
    defect_scores(ctx, params, given, images, reference, summary, found)
    lpips_scores(ctx, params, given, smooth, summary, found)
    sifid_scores(ctx, given, smooth, summary, found)
    patch_scores(ctx, given, summary, found)
    copy_scores(params, given, found, taken)
    noise_scores(params, given, taken, summary, found)
    joined_scores(joined, summary, found)
    found.pictures |= pictures.samples(given, params.shown)
    if found.nearness is not None:
        found.pictures |= pictures.extremes(given, *found.nearness)
    return Report.write(
        ctx,
        found.metrics,
        tables={saying.TRUST: saying.trust(params, found.metrics), **found.tables},
        pictures=found.pictures,
        verdict=saying.verdict(params, found.metrics),
        notes=[*found.notes, *notes.READING, notes.intervals(params)],
    )


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


def copy_scores(params: EvaluateParams, given: Comparison, found: Findings, taken: Denoised | None = None) -> None:
    """How many images repeat the noise of a known one, or are as close to the reference as no second acquisition is."""
    reference = grey(given.reference)[0]
    same_place = None if given.clean is None or not given.one_place else grey(given.clean)[0]
    floor = noise_floor(reference, same_place)
    ratios = least_differences(grey(given.images), reference[None], params.reach)[:, 0] / floor
    known = given.reference if given.known is None else given.known
    defective = np.ones(len(known), bool) if given.defective is None else given.defective
    again = fingerprints.repeats((taken or given.denoised(given.images)).noise, given.denoised(known).noise)
    alike = again.alike(params.copy_noise)
    copies = (ratios < params.copy_below) | (alike & defective[again.which])
    grounds = alike & ~defective[again.which] & ~copies
    found.metrics["copies"] = {
        "copy_share": Metric(float(copies.mean()), better="down"),
        "on_clean_image_share": float(grounds.mean()),
        "repeated_noise": float(again.share.max()),
        "repeated_noise_median": float(np.median(again.share)),
        "smallest_ratio": float(ratios.min()),
        "median_ratio": float(np.median(ratios)),
        "noise_floor": floor,
    }
    found.notes.append(notes.copying(params, floor, len(known), known=same_place is not None))
    if given.clean is not None and same_place is None:
        found.notes.append(notes.ELSEWHERE)


def noise_scores(params: EvaluateParams, given: Comparison, taken: Denoised, summary: Summary, found: Findings) -> None:
    """Noise and spectrum over those of the clean image, or of the reference where there is none; beside it what that gives."""
    unit = given.reference if given.clean is None else given.clean
    own = float(given.denoised(unit).deviations[0])
    grey_unit = grey(unit)[0]

    def measured(pixels: NDArray[np.uint8], noise: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        return {**({"deviation": noise / own} if own > 0 else {}), **bands(grey(pixels), grey_unit)}

    generated = measured(given.images, taken.deviations)
    beside = measured(given.reference, given.denoised(given.reference).deviations)
    found.metrics["noise"] = {
        "generated": {name: value for score, column in generated.items() for name, value in summary.mean(score, column).items()},
        "reference_image": {name: Metric(float(column[0])) for name, column in beside.items()},
        "grey_levels": own,
    }
    found.notes.append(notes.noise(params, own, clean=given.clean is not None))


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
