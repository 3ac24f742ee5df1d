"""The test images one by one: what became of each, and which of them a report shows."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fabloom.kinds import Gallery, ImageSet
from fabloom.kinds.gallery import factor, reduced, spread
from fabloom.kinds.masks import UNKNOWN, is_defect
from fabloom.plugins.blocks.defects import Defects
from fabloom.plugins.blocks.metrics import image_iou


def gallery(
    images: ImageSet,
    pixels: NDArray[np.uint8],
    truth: NDArray[np.uint8],
    defects: Defects,
    found: NDArray[np.bool_],
    sure: NDArray[np.uint8],
    min_area: int,
) -> Gallery:
    """Judged images [N,C,H,W] with truth [N,H,W] of 0, 1, 255, masks and certainty [N,H,W]; of many the worst, and some of the others."""
    hit, alarms = defects.met(found, min_area)
    every, missed = defects.per_image(np.ones(len(defects))), defects.per_image(~hit)
    iou = image_iou(found, truth)
    badness = 2 * missed / np.maximum(every, 1) + (missed > 0) + np.minimum(alarms, 9) / 10 + (1 - iou) / 20
    rows = np.array(spread(badness.tolist(), (missed + alarms > 0).tolist()))
    by = factor(*truth.shape[1:])
    shown = pixels[rows] if pixels.shape[1] == 3 else pixels[rows, :1]
    area = is_defect(truth).reshape(len(truth), -1).sum(1)
    values: dict[str, list[Any]] = {
        "iou": [round(float(value), 3) for value in iou[rows]],
        "defects": [int(value) for value in every[rows]],
        "missed": [int(value) for value in missed[rows]],
        "false alarms": [int(value) for value in alarms[rows]],
        "defect area": [int(value) for value in area[rows]],
    }
    if images.labels is not None:
        values["class"] = [images.class_names[label] for label in np.asarray(images.labels)[rows].tolist()]
    return Gallery(
        names_of(images, rows),
        reduced(shown, by),
        [outcome(*row) for row in zip(every[rows], missed[rows], alarms[rows], strict=True)],
        truth=reduced(is_defect(truth[rows]), by, largest=True),
        found=reduced(found[rows], by, largest=True),
        unknown=reduced(truth[rows] == UNKNOWN, by, largest=True),
        scores=reduced(sure[rows], by, largest=True),
        values=values,
        of=len(pixels),
        shrunk=by,
    )


def outcome(defects: float, missed: float, alarms: float) -> str:
    """What became of an image with so many defects, of which so many were missed, and so many false alarms."""
    if not defects:
        return "false alarm" if alarms else "clean"
    if missed:
        return "missed" if missed == defects else "partly found"
    return "found with false alarm" if alarms else "found"


def names_of(images: ImageSet, rows: NDArray[np.int64]) -> list[str]:
    """The file that each row comes from, with a number where several rows come from one; else the row."""
    if images.source is None:
        return [f"row {row}" for row in rows.tolist()]
    source, names = np.asarray(images.source), images.source_names
    counts = np.bincount(source, minlength=len(names))
    return [names[source[row]] + (f" (row {row})" if counts[source[row]] > 1 else "") for row in rows.tolist()]
