"""What images are held against: one clean picture for all of them, or each one's own; and whether the clean ones are of one place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds import ImageSet
from fabloom.kinds.arrays import LazyArray
from fabloom.method import Context

from .difference import BATCH, Real, Rule, blur, blurred_known, clean_rows, contrast_of, grey, resolved
from .labels import LabelParams
from .registration import Placement, Register, moved

STEP = 0.1
"""Shifts below so many pixels move nothing."""
SAMPLE = 64
"""Clean images that are placed to see whether they all lie alike."""
ODD = 0.1
"""A larger share of clean images that show something else is no accident."""
ROOM = 2**25
"""Pixels of clean images that are held at once; of more, evenly spread ones are taken."""


@dataclass(frozen=True)
class References:
    """The clean pictures: `shared` [H,W] for all rows, or none and each row's own; with `aligns` they are moved onto an image.

    `clean` are the clean images [K,H,W] behind the shared one, each moved to where it is (NaN where one showed nothing).
    """

    images: ImageSet
    shared: Real | None
    clean: Real
    register: Register | None
    aligns: bool

    @classmethod
    def of_one(cls, images: ImageSet, picture: Real, aligns: bool) -> References:
        """One clean picture [H,W] for all rows."""
        return cls(images, picture, picture[None], Register.of(blur(picture), picture), aligns)

    def pictures(self, start: int, stop: int) -> Real:
        """The grey reference [n,H,W] of each of some rows, not blurred."""
        if self.shared is not None:
            return np.broadcast_to(self.shared, (stop - start, *self.shared.shape))
        assert self.images.references is not None
        return grey(self.images.references[start:stop])

    def placer(self, picture: Real) -> Register:
        """What places an image against this picture [H,W]."""
        return self.register or Register.of(blur(picture), picture)

    def moves(self, placement: Placement) -> bool:
        """Whether the picture is moved onto an image that lies so."""
        return self.aligns and placement.verdict != "unlike" and placement.distance >= STEP

    def held(self, picture: Real, placement: Placement) -> Real:
        """The picture [H,W] as an image that lies so is held against it; NaN where it shows nothing of that place."""
        return moved(picture, placement.shift) if self.moves(placement) else picture

    @property
    def contrast(self) -> float:
        """Of the shared picture, or the median over own ones."""
        if self.shared is not None:
            return contrast_of(self.shared)
        return float(np.median([contrast_of(one) for one in self.clean]))


def find(ctx: Context, images: ImageSet, reference: ImageSet | None, aligns: bool) -> References:
    """The clean images of `reference`, or without it each image's own. DataError without any, and if of several places.

    `aligns`: those that lie a measured shift apart are laid on one another; else they are of several places.
    """
    if reference is None:
        if images.references is None:
            raise DataError(
                f"the images {images.key[:12]} have no references of their own; give the input `reference`, a set with clean images of "
                "the same place, or load them with a reference each (template and test pairs)"
            )
        rows = spread(len(images), images.images.shape[2] * images.images.shape[3], SAMPLE)
        return References(images, None, grey(np.stack([images.references[int(row)] for row in rows])), None, aligns)
    size, wanted = images.images.shape[2:], reference.images.shape[2:]
    if size != wanted:
        raise DataError(f"images are {size[0]} x {size[1]} but the reference is {wanted[0]} x {wanted[1]}; they must have one size")
    rows, source = clean_sources(reference)
    kept = rows[spread(len(rows), size[0] * size[1])]
    clean = grey(np.stack([source[int(row)] for row in kept]))
    clean, single = settled(ctx, clean, [name_of(reference, int(row)) for row in kept], aligns)
    middle = np.median(clean, axis=0) if not np.isnan(clean).any() else np.nanmedian(clean, axis=0)
    return References(images, middle, clean, Register.of(blur(middle), single), aligns)


def at_once(images: ImageSet) -> int:
    """Images that are held at once."""
    return int(max(1, min(BATCH, ROOM // 2 // (images.images.shape[2] * images.images.shape[3]))))


def rule_of(params: LabelParams, images: ImageSet, clean: References, placed: Sequence[Placement]) -> Rule:
    """The thresholds: noise from the clean images, or where there is one alone from the images that lie on it."""
    published = params.preset == "published"
    if clean.shared is not None and len(clean.clean) > 1:
        middle = blur(clean.shared, published)
        gaps = np.stack([blurred_known(one, published) for one in clean.clean[:BATCH]]) - middle
        return resolved(params, middle, gaps, middle[None], clean.contrast)
    rows = [row for row, one in enumerate(placed) if one.verdict != "unlike"] or list(range(len(placed)))
    rows = rows[: at_once(images)] if clean.shared is not None else [rows[n] for n in spread(len(rows), 1, SAMPLE)]
    values, pictures = [], []
    for row in rows:
        values.append(blur(grey(images.images[row : row + 1])[0], published))
        pictures.append(blurred_known(clean.held(clean.pictures(row, row + 1)[0], placed[row]), published))
    middle = blur(clean.shared if clean.shared is not None else clean.clean[0], published)
    return resolved(params, middle, np.stack(values) - np.stack(pictures), np.stack(pictures), clean.contrast)


def clean_sources(reference: ImageSet) -> tuple[NDArray[np.int64], LazyArray]:
    """Rows, and the array they count: clean images of a set, or where there are none the references that its images have."""
    try:
        return clean_rows(reference), reference.images
    except DataError:
        if reference.references is None:
            raise
        return np.arange(len(reference)), reference.references


def settled(ctx: Context, clean: Real, names: list[str], aligns: bool) -> tuple[Real, Real]:
    """Clean images [K,H,W] laid on one another, and the one that they were laid on. Raises DataError where they cannot be."""
    blurred = blur(clean)
    middle = np.median(blurred, axis=0)
    anchor = int(np.argmin([np.abs(one - middle).mean() for one in blurred]))
    register = Register.of(blurred[anchor], clean[anchor])
    sample = spread(len(clean), 1, SAMPLE)
    placed = {int(row): register.place(blurred[row]) for row in sample}
    if all(one.verdict == "in place" for one in placed.values()):
        return clean, clean[anchor]
    placed |= {row: register.place(blurred[row]) for row in range(len(clean)) if row not in placed}
    odd = [row for row, one in placed.items() if one.verdict == "unlike" or (one.verdict == "shifted" and not aligns)]
    if len(odd) > ODD * len(clean):
        raise DataError(not_of_one_place(placed, odd, names, names[anchor]))
    for row in odd:
        ctx.log(f"clean image '{names[row]}' {placed[row]} against '{names[anchor]}' and is left out of the reference")
    laid = [back(clean[row], placed[row]) if aligns else clean[row] for row in range(len(clean)) if row not in odd]
    return np.stack(laid), clean[anchor]


def back(picture: Real, placement: Placement) -> Real:
    """A picture that lies elsewhere, moved to where the reference is."""
    down, right = placement.shift
    return moved(picture, (-down, -right))


def not_of_one_place(placed: dict[int, Placement], odd: list[int], names: list[str], anchor: str) -> str:
    """Why clean images make no reference."""
    worst = max(odd, key=lambda row: (placed[row].verdict == "shifted", placed[row].distance))
    cure = "give one clean image" if placed[worst].verdict == "unlike" else "set align: true, or give one clean image"
    return (
        f"the {len(placed)} clean images are not of one place, so their median is a picture of nothing: {len(odd)} do not lie on "
        f"'{anchor}'; '{names[worst]}' {placed[worst]}. Take clean images of one place, {cure}, or give each image its own reference "
        "(template and test pairs)"
    )


def spread(count: int, pixels: int, most: int | None = None) -> NDArray[np.int64]:
    """Up to `most` rows of `count`, and up to `ROOM` pixels in all, evenly spread."""
    room = max(5, ROOM // pixels)
    wanted = min(count, room if most is None else min(room, most))
    return np.unique(np.linspace(0, count - 1, wanted).round().astype(np.int64))


def name_of(images: ImageSet, row: int) -> str:
    """The file's name of an image where the set knows it, else its row."""
    if images.source is None:
        return f"row {row}"
    return images.source_names[int(images.source[row])]
