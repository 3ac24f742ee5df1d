"""Which clean image shows the place of a defect image, and where it lies on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds import ImageSet
from fabloom.kinds.masks import is_defect
from fabloom.plugins.blocks.difference import blur
from fabloom.plugins.blocks.references import STEP, name_of
from fabloom.plugins.blocks.registration import Placement, Register, moved

Pixels = NDArray[np.uint8]
Real = NDArray[np.float64]


@dataclass(frozen=True)
class Clean:
    """The clean images of a set [K,C,H,W], each with the name of its source; `own`: image i of the set has row i."""

    pixels: Pixels
    names: Sequence[str]
    own: bool

    @classmethod
    def of(cls, images: ImageSet, given: ImageSet | None) -> Clean:
        """From `given`, else the references of the images, else their clean rows.

        Raises DataError where there is none, and for clean images of another size or other channels.
        """
        if given is None and images.references is not None:
            return cls(np.asarray(images.references[...]), [name_of(images, row) for row in range(len(images))], own=True)
        whose = images if given is None else given
        rows = _clean_rows(whose, alone=given is not None)
        if not len(rows):
            cure = "give `reference`, a set with clean images of the same place" if given is None else "load it with the `clean` patterns"
            raise DataError(
                f"a defect is cut out by its difference to a clean image, and set {whose.key[:12]} has none (domain 0), nor references of "
                f"its own: {cure}"
            )
        found = np.stack([whose.images[int(row)] for row in rows])
        if found.shape[1:] != images.images.shape[1:]:
            (c, h, w), (d, g, v) = found.shape[1:], images.images.shape[1:]
            raise DataError(f"the clean images of set {whose.key[:12]} are {h} x {w} x {c}, the images with defects {g} x {v} x {d}")
        prefix = "" if given is None or given.key == images.key else "clean "
        return cls(found, [prefix + name_of(whose, int(row)) for row in rows], own=False)

    def nearest(self, image: Pixels, row: int) -> Pixels:
        """The clean image [C,H,W] that is nearest to image `row` [C,H,W]."""
        gaps = [] if self.own else [float(np.abs(one.astype(np.int16) - image).mean()) for one in self.pixels]
        found: Pixels = self.pixels[row if self.own else int(np.argmin(gaps))]
        return found


def _clean_rows(images: ImageSet, *, alone: bool) -> NDArray[np.intp]:
    """Rows of clean images; of a set that is given for its clean images and says nothing all of them."""
    if images.domain is None:
        return np.arange(len(images) if alone else 0)
    return np.flatnonzero(images.domain[...] == 0)


def defect_rows(images: ImageSet, *, alone: bool) -> NDArray[np.intp]:
    """Rows of images that have a defect by domain or mask; of a set that says nothing all, where its clean images are elsewhere (`alone`).

    Raises DataError where there is none.
    """
    rows = np.arange(len(images) if alone and images.domain is None else 0)
    if images.domain is not None:
        rows = np.flatnonzero(images.domain[...] == 1)
    if not len(rows):
        raise DataError(
            f"none of the {len(images)} images of set {images.key[:12]} has a defect (domain 1), so that there is nothing to cut out: load "
            "them with the `defect` and `clean` patterns of images.load, or with masks"
        )
    return rows


def place(image: Pixels, clean: Pixels) -> Placement:
    """Where an image lies against a clean one, both [C,H,W]."""
    goal = clean.mean(0, dtype=np.float64)
    return Register.of(blur(goal), goal).place(blur(image.mean(0, dtype=np.float64)))


def laid(picture: Real, placement: Placement) -> Real:
    """A clean picture [C,H,W] where the image is that lies so; NaN where it shows nothing of that place."""
    if placement.distance < STEP:
        return picture
    return np.stack([moved(channel, placement.shift) for channel in picture])


def own_mask(images: ImageSet, row: int) -> Pixels | None:
    """The mask [H,W] of an image where it holds a defect."""
    if images.masks is None:
        return None
    mask: Pixels = np.asarray(images.masks[row : row + 1])[0]
    return mask if is_defect(mask).any() else None
