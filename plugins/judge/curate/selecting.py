"""The task `select`: what is left out for a reason, what is hardest and most varied of the rest, and the account of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model, Report
from fabloom.kinds.masks import UNKNOWN
from fabloom.method import Context
from fabloom.plugins.blocks.columns import columns, grey_attrs
from fabloom.plugins.blocks.copies import ROUNDING, least_differences
from fabloom.plugins.blocks.difference import grey
from fabloom.plugins.blocks.grain import fine_noise
from fabloom.plugins.blocks.sources import copies
from fabloom.plugins.blocks.streams import numpy_stream
from fabloom.plugins.blocks.truth import label_attrs

from . import diversity, ranges
from .hardness import Misses, losses, ranks
from .params import SelectParams
from .portraits import Portraits
from .segmenter import Segmenter

Real = NDArray[np.float64]
Rows = NDArray[np.bool_]
UNLABELLED, REPEAT, COPY, RANGE = "not labelled", "repeats another", "copy of a real image", "out of range"
REST = "not chosen"
LISTED = 200
"""Rows of a reason that the attributes name."""


@dataclass(frozen=True)
class Reasons:
    """Why images are left out before any choice: rows [N] by reason, each image under its first; which numbers [N,5] were out of range."""

    rows: Mapping[str, Rows]
    outside: Rows

    @property
    def fit(self) -> Rows:
        """The others."""
        found: Rows = ~np.any([*self.rows.values()], axis=0)
        return found

    @classmethod
    def of(cls, params: SelectParams, pixels: NDArray[np.uint8], masks: NDArray[np.uint8], real: NDArray[np.uint8]) -> Self:
        """Of images uint8 [N,C,H,W] and masks [N,H,W] against real images [R,C,h,w]."""
        images, theirs = grey(pixels), grey(real)
        outside = np.zeros((len(images), len(ranges.NAMES)), bool)
        if params.tolerance is not None:
            few = min(ranges.side_by_side(one, params.patch) for one in (images, theirs))
            allowed = ranges.Range.of(ranges.numbers(theirs, params.patch), params.tolerance, few)
            outside = allowed.leaves(ranges.numbers(images, params.patch))
        same = copies(pixels)
        found = {
            UNLABELLED: (masks == UNKNOWN).all((1, 2)),
            REPEAT: np.arange(len(same)) != np.unique(same, return_index=True)[1][same],
            COPY: near(images, theirs, params),
            RANGE: outside.any(1),
        }
        taken = np.zeros(len(images), bool)
        for reason, rows in found.items():
            found[reason], taken = rows & ~taken, taken | rows
        return cls(found, outside & found[RANGE][:, None])


def near(images: Real, real: Real, params: SelectParams) -> Rows:
    """Which images [N,H,W] are copies of a real one [R,H,W]: nearer than `copy_below` of what two acquisitions of it differ by, which is
    sqrt(2) times its noise (Immerkaer 1996); see quality's copies for the limit. Raises DataError for images of another size.
    """
    if params.copy_below is None:
        return np.zeros(len(images), bool)
    if images.shape[1:] != real.shape[1:]:
        (height, width), (h, w) = images.shape[1:], real.shape[1:]
        raise DataError(
            f"images are {height} x {width} and the real ones {h} x {w}: copies are looked for among images of one size. Give `reference` "
            "the real images at that size, or set copy_below: null"
        )
    if params.reach >= min(images.shape[1:]):
        raise DataError(f"reach={params.reach} must stay below the side of images of {images.shape[1]} x {images.shape[2]}")
    floors = np.array([max(2**0.5 * fine_noise(one[None]), ROUNDING) for one in real])
    nearest: Rows = (least_differences(images, real, params.reach) / floors < params.copy_below).any(1)
    return nearest


@dataclass(frozen=True)
class Judged:
    """What the segmenter makes of the images [N]: its loss; how hard each is among those of its sort, 0 to 1; where its hardest defect lies
    [N,3], 0 without one; whether it has one.
    """

    loss: Real
    hard: Real
    at: Real
    defect: Rows

    @classmethod
    def of(cls, images: Real, masks: NDArray[np.uint8], probability: NDArray[np.float32], misses: Misses | None) -> Self:
        """Hard is what has a large loss; with `misses`, of defect images half by loss and half by how often such defects are missed."""
        portraits, loss = Portraits.of(images, masks, probability), losses(probability, masks)
        worst = 1 - portraits.sure if misses is None else misses.like(portraits.numbers)
        at, like, defect = np.zeros((len(images), 3)), np.zeros(len(images)), np.zeros(len(images), bool)
        places = diversity.positions(portraits.y, portraits.x, portraits.area)
        for one in np.argsort(worst, kind="stable").tolist():  # the worst of an image comes last and stands
            row = int(portraits.image[one])
            at[row], like[row], defect[row] = places[one], worst[one], True
        hard = np.empty(len(images))
        for sort in (defect, ~defect):
            hard[sort] = ranks(loss[sort])
        if misses is not None:
            hard[defect] = (hard[defect] + ranks(like[defect])) / 2
        return cls(loss, hard, at, defect)


def select(
    ctx: Context, params: SelectParams, images: ImageSet, model: Model, reference: ImageSet, misses: Report | None = None
) -> ImageSet:
    """The task `select`."""
    if images.masks is None:
        raise DataError(f"pool {images.key[:12]} has no masks; label it first (reference-difference.label)")
    if images.images.shape[1] != reference.images.shape[1]:
        raise DataError(f"images have {images.images.shape[1]} channels and the real ones {reference.images.shape[1]}; load both alike")
    known = None if misses is None else Misses.read(misses)
    segmenter = Segmenter.of(model)
    pixels, masks = np.asarray(images.images[...]), np.asarray(images.masks[...])
    reasons = Reasons.of(params, pixels, masks, np.asarray(reference.images[...]))
    fit = np.flatnonzero(reasons.fit)
    if not len(fit):
        told = ", ".join(f"{int(rows.sum())} {reason}" for reason, rows in reasons.rows.items() if rows.any())
        raise DataError(f"none of the {len(pixels)} images of pool {images.key[:12]} can be kept: {told}. {_cure(reasons)}")
    judged = Judged.of(grey(pixels[fit]), masks[fit], segmenter.probabilities(ctx, pixels[fit]), known)
    kept = np.sort(fit[choose(ctx.seed, params, judged)])
    if len(kept) < params.count:
        ctx.log(f"{len(kept)} images are kept where {params.count} were asked for: {len(fit)} of the {len(pixels)} of the pool are fit")
    attrs = {"chosen_from": images.key, "segmenter": model.key, "count": params.count, **grey_attrs(images), **label_attrs(images)}
    attrs |= account(reasons, kept, judged, fit)
    return ImageSet.write(ctx, pixels[kept], channels=pixels.shape[1], attrs=attrs, **columns(images, kept))


def choose(seed: int, params: SelectParams, judged: Judged) -> NDArray[np.int64]:
    """Rows of the images that are kept, clean and defect ones in the proportion that they have, one at least of each that there is."""
    count, defects = min(params.count, len(judged.defect)), int(judged.defect.sum())
    clean = len(judged.defect) - defects
    wanted = round(count * defects / (defects + clean))
    wanted = min(max(wanted, min(1, defects), count - clean), count - min(1, clean) if count > 1 else count, defects)
    found = []
    for name, sort, many in (("defect", judged.defect, wanted), ("clean", ~judged.defect, count - wanted)):
        rows = np.flatnonzero(sort)
        chance = ranks(numpy_stream(seed, name).permutation(len(rows)).astype(float))
        quality = params.hardness * ranks(judged.hard[rows]) + (1 - params.hardness) * chance
        varied = params.diversity if name == "defect" else 0.0  # a clean image has no place
        found.append(rows[diversity.chosen(quality, judged.at[rows], many, varied)])
    return np.concatenate(found)


def account(reasons: Reasons, kept: NDArray[np.int64], judged: Judged, fit: NDArray[np.int64]) -> dict[str, Any]:
    """What the attributes tell: counts by reason, rows of the few, which numbers were out of range, losses of those kept and of all fit."""
    counts = {reason: int(rows.sum()) for reason, rows in reasons.rows.items()}
    inside = np.isin(fit, kept)
    rows = {reason: np.flatnonzero(rows)[:LISTED].tolist() for reason, rows in reasons.rows.items() if rows.any()}
    return {
        "left out": {**counts, REST: len(fit) - len(kept)},
        **({"left out, by row of the pool": rows} if rows else {}),
        **({"out of range, by what": dict(zip(ranges.NAMES, reasons.outside.sum(0).tolist(), strict=True))} if counts[RANGE] else {}),
        "loss of the segmenter": {
            f"{name}, {which}": round(float(judged.loss[sort & among].mean()), 4)
            for name, sort in (("defect images", judged.defect), ("clean images", ~judged.defect))
            for which, among in (("kept", inside), ("of all that are fit", np.ones(len(fit), bool)))
            if (sort & among).any()
        },
    }


def _cure(reasons: Reasons) -> str:
    """What to do where nothing is left."""
    most = max(reasons.rows, key=lambda reason: int(reasons.rows[reason].sum()))
    cures = {
        UNLABELLED: "Label the pool so that its masks can tell",
        REPEAT: "Sample a varied pool",
        COPY: "Train the generator on more images or for fewer steps, or set copy_below: null",
        RANGE: "Look at the images; raise `tolerance`, or give more real images as `reference`",
    }
    return cures[most]
