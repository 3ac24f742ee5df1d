"""The task `compare`: read the reports, and lay their figures beside the published ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Metric, Report
from fabloom.kinds.metric import Better, Role
from fabloom.method import Context

from . import pictures, tables, verdicts
from .notes import notes
from .params import CompareParams
from .scores import Estimate, Quality, Segmentation, read_quality, read_segmentation
from .tables import AblationRow, Row

SAME = 0.01
"""IoU by which one predictor may differ between two evaluations of it."""

HEADLINE = "iou_defect"
"""What methods compete in."""


def compare(
    ctx: Context,
    params: CompareParams,
    reference: ImageSet,
    samples: Sequence[ImageSet],
    quality: Sequence[Report],
    segmentation: Sequence[Report],
    ablations: Sequence[Report],
) -> Report:
    """Write the report."""
    controls = one_baseline(segmentation)
    rows = [
        Row(entry, read_quality(q), read_segmentation(s, "model"))
        for entry, q, s in zip(params.entries, quality, segmentation, strict=True)
    ]
    settings = [AblationRow(s, read_quality(report)) for s, report in zip(params.settings, ablations, strict=True)]
    found = {
        tables.COUNTS: tables.counts(rows),
        tables.DISTANCES: tables.distances(rows),
        tables.SEGMENTATION: tables.segmentation(rows, controls["baseline"], controls["nothing"]),
        **tables.ablations(settings),
    }
    claims = verdicts.verdicts(rows, settings)
    found[verdicts.TITLE] = verdicts.table(claims)
    few = too_few(controls["baseline"])
    metrics: dict[str, Any] = {row.entry.title: flat(row.segmenter, sure=not few) | flat_quality(row.quality) for row in rows}
    metrics |= {name: flat(scores, control=True, sure=not few) for name, scores in controls.items()}
    told = [verdicts.summary(claims), *notes(rows, settings)]
    return Report.write(ctx, metrics, tables=found, pictures=panels(params, reference, samples), verdict=few, notes=told)


def too_few(scores: Segmentation) -> str:
    """Why there is no verdict; '' where the test set is of sources enough, or the reports do not say of how many."""
    return f"No verdict: {scores.few}." if scores.few else ""


def one_baseline(reports: Sequence[Report]) -> dict[str, Segmentation]:
    """Baseline and nothing, which all reports must have measured on the same test set. Raises DataError where they differ."""
    found = {name: [read_segmentation(report, name) for report in reports] for name in ("baseline", "nothing")}
    for name, scores in found.items():
        for report, given in zip(reports, scores, strict=True):
            if not alike(given, scores[0]):
                raise DataError(
                    f"reports {reports[0].key[:12]} and {report.key[:12]} score '{name}' differently: "
                    "evaluate all methods on one test set and against one baseline"
                )
    return {name: scores[0] for name, scores in found.items()}


def alike(a: Segmentation, b: Segmentation) -> bool:
    """Whether two scores are of one predictor on one test set; a device may differ in the last bits, and by a pixel."""
    pairs = ((first.value, second.value) for first, second in ((a.paper, b.paper), (a.defect, b.defect), (a.moved, b.moved)))
    return all(x == y if x is None or y is None else abs(x - y) < SAME for x, y in pairs)


def flat(scores: Segmentation, *, control: bool = False, sure: bool = True) -> dict[str, Metric]:
    """Metrics of one predictor; methods compete in the IoU of defect images. Without intervals where those would cover too little."""
    known: dict[str, tuple[Estimate, Better]] = {
        HEADLINE: (scores.defect, "up"),
        "iou": (scores.paper, "up"),
        "iou_defect_moved": (scores.moved, "up"),
        "detection_rate_moved": (scores.detection, "up"),
        "false_alarm_rate_moved": (scores.false_alarms, "down"),
    }
    roles: dict[str, Role] = {name: "control" if control else "headline" if name == HEADLINE else "detail" for name in known}
    return {name: Metric(e.value, e.bounds if sure else None, better=better, role=roles[name]) for name, (e, better) in known.items()}


def flat_quality(quality: Quality) -> dict[str, Metric]:
    """Metrics of one set of images. The best count and ratios are those of the reference pair, so none says which way is better."""
    ratios = {"sifid_ratio": quality.sifid.ratio, **{f"lpips_{net}_ratio": d.ratio for net, d in quality.lpips.items()}}
    ratios |= {"same_place": quality.same_place, "same_place_chance": Estimate(quality.chance), "noise_ratio": quality.noise}
    found = {"defects_per_image": quality.count, **{name: e for name, e in ratios.items() if e.value is not None}}
    return {name: Metric(e.value, e.bounds) for name, e in found.items()} | {"copy_share": Metric(quality.copies, better="down")}


def panels(params: CompareParams, reference: ImageSet, sets: Sequence[ImageSet]) -> dict[str, NDArray[np.uint8]]:
    """The figure panels of the paper: samples, and where the defects are."""
    names = [entry.title for entry in params.entries]
    low, high = (int(v) for v in (reference.images[...].min(), reference.images[...].max()))
    drawn = {
        f"Samples (rows: {', '.join(names)}; the first of each row is the real image; contrast of the real image, {low} to {high})":
        pictures.samples(reference, sets, params.shown)
    }  # fmt: skip
    maps, peaks = pictures.locations({"real": reference, **dict(zip(names, sets, strict=True))})
    if maps is not None:
        told = ", ".join(f"{name} {peak:.0%}" for name, peak in peaks.items())
        drawn[f"Where the defects are (share of the labels that cover a pixel, each from 0 to its peak: {told})"] = maps
    return drawn
