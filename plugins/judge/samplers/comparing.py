"""The task `compare`: scores of every set, averaged over the trainings of a row, beside controls that each score must tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Metric, Report, Table
from fabloom.kinds.metric import Better, Role
from fabloom.method import Context
from fabloom.plugins.blocks.sheets import stretched, tiled

from .params import CompareParams
from .scoring import Judge, Scores

HEADLINE = "distance"
BETTER: dict[str, Better] = {"distance": "down", "copies": "down", "iou": "up", "image_operations": "down"}
CONTROLS: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    "training images, drawn again": lambda images: images,
    "training images, blurred": lambda images: ndimage.gaussian_filter(images, (0, 0, 1, 1)),
}
COLUMNS = {
    "defects": "defects over the training set's", "told": "labels can tell", "low_band": "power, low", "middle_band": "middle",
    "high_band": "high", "distance": "distance of patches, grey levels", "variety": "variety", "copies": "copies",
    "iou": "IoU of a segmenter", "image_operations": "10^9 multiply-adds an image", "training_operations": "10^12 of training",
}  # fmt: skip
CLAIMS = {
    "unexplained_variance": "unexplained variance", "recurrence_error_ratio": "recurrence over plain chain", "high_band": "high band",
    "with_grain_high_band": "with grain", "defect_agreement": "agreement on defects",
}  # fmt: skip
NOTES = (
    "defects: share with a defect by the difference to the clean training images, among samples of which that can be told, over the "
    "training set's share. Power: in thirds of the band over that of held-out real images. Distance: sliced Wasserstein of 7 x 7 "
    "patches to held-out real images. Variety: squared distance to the mean image over that of real images. Copies: share nearer to a "
    "training image than 99 % of held-out real images are. IoU: a U-Net trained on the samples alone, on real images with a defect.",
    "Multiply-adds are counted while networks run, those of training with the teacher's and the recordings'. ± is the deviation over "
    "trainings. Seconds stand with the steps below.",
    "The controls: training images are as near as can be, and all are copies; blurred ones lack the high band. Samples with less noise "
    "than real images are nearer to all of them: believe copies only where the power of the upper bands is not far below 1.",
)


def compare(
    ctx: Context,
    params: CompareParams,
    reference: ImageSet,
    real: ImageSet,
    samples: Sequence[ImageSet],
    labelled: Sequence[ImageSet],
    segmentation: Sequence[Report],
    agreement: Sequence[Report],
) -> Report:
    """Write the report."""
    judge = Judge(reference, real, share_of(reference, [real, *samples]))
    rows: dict[str, list[Scores]] = {}
    with ctx.progress(len(samples), unit="set", name="scores") as bar:
        for index, (entry, drawn, known) in enumerate(zip(params.entries, samples, labelled, strict=True)):
            iou = iou_of(segmentation[index], "model") if segmentation else None
            rows.setdefault(entry.title, []).append(judge.scores(drawn.images[...], known, drawn.attrs, iou))
            bar.advance(1)
    controls = {name: [judge.scores(change(reference.images[...]), None, {}, None)] for name, change in CONTROLS.items()}
    evaluations = {entry.title: entry.evaluations for entry in params.entries}
    table = Table(
        ("images", "evaluations", *COLUMNS.values()),
        [(title, evaluations.get(title), *(told(found, name) for name in COLUMNS)) for title, found in (rows | controls).items()],
    )
    metrics: dict[str, Any] = {title: metrics_of(found, False) for title, found in rows.items()}
    metrics |= {title: metrics_of(found, True) for title, found in controls.items()}
    if segmentation:
        metrics["iou_of_the_training_images"] = Metric(iou_of(segmentation[0], "baseline"), role="control")
    tables = {"samplers": table}
    if agreement:
        tables["students of a recurrence"] = claims(params.students, agreement)
    pictures = {f"Samples (rows: training images, {', '.join(rows)}; one grey range)": sheet(params, reference, samples)}
    return Report.write(ctx, metrics, tables=tables, pictures=pictures, verdict=nearest_of(evaluations, rows), notes=list(NOTES))


ENOUGH = 3
"""Trainings of a row below which a difference may be chance."""


def nearest_of(evaluations: Mapping[str, int], rows: Mapping[str, Sequence[Scores]]) -> str:
    """Which row of one evaluation, and which of all, comes nearest to real images; and whether that may be chance."""
    distances = {title: float(np.mean([one.distance for one in found])) for title, found in rows.items()}
    best = min(distances, key=distances.__getitem__)
    single = [title for title in distances if evaluations[title] == 1]
    said = f"Nearest to real images comes '{best}' ({distances[best]:.2g} grey levels)"
    if single and (one := min(single, key=distances.__getitem__)) != best:
        said = (
            f"Of one step '{one}' comes nearest to real images ({distances[one]:.2g} grey levels), of all '{best}' ({distances[best]:.2g})"
        )
    fewest = min(len(found) for found in rows.values())
    return f"{said}." if fewest >= ENOUGH else f"{said}; of {fewest} training{'s' * (fewest > 1)}, so it may be chance."


def share_of(reference: ImageSet, others: Sequence[ImageSet]) -> float:
    """Share of the training images with a defect. Raises DataError where that is not known, and for images of another size."""
    if reference.domain is None:
        raise DataError("the training images do not say which have a defect; label them first")
    for other in others:
        if other.images.shape[1:] != reference.images.shape[1:]:
            raise DataError(
                f"set {other.key[:12]} has images of {other.images.shape[1:]}, the training images are {reference.images.shape[1:]}"
            )
    return float((reference.domain[...] == 1).mean())


def iou_of(report: Report, predictor: str) -> float:
    """IoU of defect images of 'model' or 'baseline'. Raises DataError for a report of another task."""
    found = report.described.get(predictor)
    value = found.get("iou_defect") if isinstance(found, dict) else None
    if not isinstance(value, Metric) or not value.known:
        raise DataError(f"report {report.key[:12]} has no IoU of '{predictor}'; give reports of unet.evaluate with a baseline")
    return float(value.value)


def values_of(found: Sequence[Scores], name: str) -> list[float]:
    """A score of all trainings of a row, where it is known."""
    return [value for one in found if (value := getattr(one, name)) is not None]


def told(found: Sequence[Scores], name: str) -> str | None:
    """'0.94 ± 0.03', the mean and deviation over trainings; None where it is not known."""
    values = values_of(found, name)
    if not values:
        return None
    mean, deviation = float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else None
    return f"{mean:.3g}" if deviation is None or name.endswith("operations") else f"{mean:.3g} ± {deviation:.2g}"


def metrics_of(found: Sequence[Scores], control: bool) -> dict[str, Metric]:
    """The mean over trainings of every score."""
    roles: dict[str, Role] = {name: "control" if control else "headline" if name == HEADLINE else "detail" for name in COLUMNS}
    known = {name: values_of(found, name) for name in COLUMNS}
    return {name: Metric(float(np.mean(v)), better=BETTER.get(name), role=roles[name]) for name, v in known.items() if v}


def claims(students: Sequence[str], reports: Sequence[Report]) -> Table:
    """What was found of rectification, predictability and noise: the mean over the trainings of a row."""
    rows: dict[str, list[Report]] = {}
    for name, report in zip(students, reports, strict=True):
        rows.setdefault(name, []).append(report)
    body = []
    for name, found in rows.items():
        values = [[float(v.value) for r in found if isinstance(v := r.described.get(key), Metric) and v.known] for key in CLAIMS]
        body.append((name, *(float(np.mean(one)) if one else None for one in values)))
    return Table(("student", *CLAIMS.values()), body)


def sheet(params: CompareParams, reference: ImageSet, samples: Sequence[ImageSet]) -> NDArray[np.uint8]:
    """A row of training images, and one of the first set of each title."""
    firsts: dict[str, ImageSet] = {}
    for entry, drawn in zip(params.entries, samples, strict=True):
        firsts.setdefault(entry.title, drawn)
    images = [one.images[: params.shown] for one in (reference, *firsts.values())]
    low, high = float(images[0].min()), float(images[0].max())
    return tiled([stretched(one, low, high) for one in images], params.shown)
