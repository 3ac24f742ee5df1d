"""Training images whose defect lies elsewhere: what the one image differs by from its clean one, put on other places of it.

A network that is shown the clean image can otherwise learn by heart where the one image has its defect.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from .ground import grey_of
from .registration import least_squares, moved, slopes_of, spline_of

Pixels = NDArray[np.uint8]
Real = NDArray[np.float64]
Mask = NDArray[np.bool_]
SKIRT = 3
"""Pixels by which a defect's mask is widened, so that its soft edge moves along."""
AROUND = 4
"""Pixels around a defect's box in which the structure shall be alike where it is put."""
ALIKE, SLACK = 0.2, 0.03
"""Largest root mean square, in contrasts of the clean image, by which the structure differs at a place that is alike, and by how much
less it may differ a pixel beside: an edge is alike all along, a hole at its middle alone."""
SPREAD = 3
"""Places that are alike must lie in so many boxes of the defect's size, or all places count on which it shows."""
VISIBLE = 0.5
"""Share of a defect's difference that must be left after it is cut to the image's grey range."""
TOLD_BY = 256
"""Most pixels of a defect that its visibility is judged by."""
FINE, FAR = 0.05, 1.0
"""Pixels below which a defect is not moved to fit, and above which the structure is another, and it is not either."""
TURNS = 3
"""Times that the fraction of a pixel is looked for."""
SIDE = 96
"""Side of a square image that is given so many defects as are asked for."""
MOST, FEWEST, PIXELS = 64, 8, 2**22
"""Copies: so many, fewer where they would hold more than this many pixels, but not below the second."""


@dataclass(frozen=True)
class Defect:
    """The change [C,h,w] that makes a clean image defective, zero outside its mask, and the box's first row and column."""

    change: Real
    top: int
    left: int


def copies_of(size: tuple[int, int]) -> int:
    """How many copies to make of an image of this size."""
    return max(min(MOST, PIXELS // (size[0] * size[1])), FEWEST)


def number_of(defects: float, size: tuple[int, int]) -> int:
    """How many defects to put on a copy of this size: so many at 96 x 96 pixels, in proportion to the side otherwise; one at least."""
    return max(round(defects * sqrt(size[0] * size[1]) / SIDE), 1)


def transplanted(image: Pixels, clean: Pixels, mask: Mask, counts: tuple[int, int], draw: np.random.Generator) -> Pixels:
    """Images uint8 [copies,C,H,W], `counts` of them and of the defects on each: the image [C,H,W] without the defects of its mask [H,W],
    with such defects elsewhere.

    A defect goes where the clean image looks as it does at the defect's own place, as another hole or the next line does; where
    there are too few such places, wherever half of it shows. Values are cut to the range of the image. The image itself, over and
    over, where the mask is empty.
    """
    count, number = counts
    wide = ndimage.binary_dilation(mask, iterations=SKIRT)
    found = defects_of(image, clean, wide)
    healed = np.where(wide, clean, image).astype(np.float64)
    spots = [places(defect, clean, healed) for defect in found]
    if not found:
        return np.repeat(image[None], count, 0)
    low, high = float(image.min()), float(image.max())
    grey, made = grey_of(clean.astype(np.float64)), np.repeat(healed[None], count, 0)
    for copy in made:
        for index in draw.integers(len(found), size=number):
            one, spot = found[index], spots[index]
            top, left = spot[draw.integers(len(spot))].tolist()
            box = one.change.shape[1], one.change.shape[2]
            around, at = surroundings(grey, one.top, one.left, box)
            off = fraction(grey, around, (top - at[0], left - at[1]))
            copy[:, top : top + box[0], left : left + box[1]] += one.change if off is None else shifted(one.change, off)
        np.clip(copy, low, high, out=copy)
    return np.rint(made).astype(np.uint8)


def defects_of(image: Pixels, clean: Pixels, mask: Mask) -> list[Defect]:
    """One for each connected part of the mask [H,W]."""
    parts, _ = ndimage.label(mask, np.ones((3, 3), int))
    difference = image.astype(np.float64) - clean
    return [
        Defect(np.where(parts[box] == index, difference[:, *box], 0), box[0].start, box[1].start)
        for index, box in enumerate(ndimage.find_objects(parts), start=1)
    ]


def places(defect: Defect, clean: Pixels, healed: Real) -> NDArray[np.intp]:
    """Rows and columns [P,2] where the defect's box may begin; its own among them."""
    grey = grey_of(clean.astype(np.float64))
    height, width = defect.change.shape[1:]
    alike = like(grey, defect)
    rows, columns = np.nonzero(alike)
    apart = (np.abs(rows - defect.top) >= height) | (np.abs(columns - defect.left) >= width)
    if len(set(zip(rows[apart] // height, columns[apart] // width, strict=True))) < SPREAD:
        rows, columns = np.nonzero(showing(healed.mean(0), defect) >= VISIBLE)
    spots = np.stack([rows, columns], 1)
    return spots if len(spots) else np.array([[defect.top, defect.left]])


def like(grey: Real, defect: Defect) -> Mask:
    """Where a clean grey image [H,W] looks as it does at the defect, more than a pixel beside: for all first rows, columns of its box."""
    box = defect.change.shape[1], defect.change.shape[2]
    return matching(grey, *surroundings(grey, defect.top, defect.left, box), box)


def surroundings(grey: Real, top: int, left: int, box: tuple[int, int]) -> tuple[Real, tuple[int, int]]:
    """What lies around a box of an image [H,W] and in it, [h,w], and the first row and column of the box in that."""
    first = max(top - AROUND, 0), max(left - AROUND, 0)
    return grey[first[0] : top + box[0] + AROUND, first[1] : left + box[1] + AROUND], (top - first[0], left - first[1])


def matching(grey: Real, around: Real, at: tuple[int, int], box: tuple[int, int]) -> Mask:
    """Where an image [H,W] looks as `around` [h,w] does, more than a pixel beside: for all first rows, columns of the box that lies `at`
    in that.
    """
    alike = np.zeros((max(grey.shape[0] - box[0] + 1, 0), max(grey.shape[1] - box[1] + 1, 0)), bool)
    if around.shape[0] > grey.shape[0] or around.shape[1] > grey.shape[1]:
        return alike
    mean = grey.mean()
    centred, patch = grey - mean, around - mean
    ones = np.ones_like(patch)
    energy = signal.fftconvolve(centred**2, ones, mode="valid") - 2 * signal.fftconvolve(centred, patch[::-1, ::-1], mode="valid")
    distance = np.sqrt(np.maximum(energy + (patch**2).sum(), 0) / patch.size)
    low, high = np.percentile(grey, (1, 99))
    best = (distance <= ALIKE * (high - low)) & (distance <= ndimage.minimum_filter(distance, 3) + SLACK * (high - low))
    alike[at[0] : at[0] + distance.shape[0], at[1] : at[1] + distance.shape[1]] = best
    return alike


def fraction(grey: Real, around: Real, first: tuple[int, int]) -> tuple[float, float] | None:
    """By what fraction of a pixel (down, right) a grey image [H,W] from `first` row and column on lies off a picture [h,w] that it is like.

    A period is no whole number of pixels: half a pixel off, a hole that is taken away leaves a bright crescent and a dark one. None where
    that is next to nothing, and where it is so much that the two show something else. `first` may lie beyond the border.
    Least squares on the slopes (Lucas and Kanade 1981).
    """
    there = tuple(slice(max(at, 0), min(at + wide, side)) for at, wide, side in zip(first, around.shape, grey.shape, strict=True))
    here = tuple(slice(part.start - at, part.stop - at) for part, at in zip(there, first, strict=True))
    goal, own, shift = grey[there], around[here], np.zeros(2)
    spline = spline_of(own)
    for _ in range(TURNS):
        laid = moved(own, (float(shift[0]), float(shift[1])), spline)
        slopes = slopes_of(laid)
        seen = np.isfinite(slopes).all(0)
        shift = shift + least_squares(slopes[:, seen], (goal - laid)[seen])
        if np.abs(shift).max() > FAR:
            return None
    return None if np.abs(shift).max() < FINE else (float(shift[0]), float(shift[1]))


def shifted(change: Real, shift: tuple[float, float]) -> Real:
    """What a defect changes [C,h,w], moved by a fraction of a pixel; nothing comes in from outside."""
    return np.stack([ndimage.shift(channel, shift, order=3, mode="constant") for channel in change])


def showing(grey: Real, defect: Defect) -> Real:
    """Share of the defect's difference that is left at every place [H-h+1,W-w+1] of a grey image [H,W] cut to its own range."""
    change = defect.change.mean(0)
    rows, columns = np.nonzero(change)
    some = np.unique(np.linspace(0, max(len(rows) - 1, 0), TOLD_BY).astype(int))[: len(rows)]
    low, high = np.percentile(grey, (1, 99))
    shape = grey.shape[0] - change.shape[0] + 1, grey.shape[1] - change.shape[1] + 1
    left, whole = np.zeros(shape), 0.0
    for y, x in zip(rows[some], columns[some], strict=True):
        under, size = grey[y : y + shape[0], x : x + shape[1]], abs(change[y, x])
        left += np.clip(high - under if change[y, x] > 0 else under - low, 0, size)
        whole += size
    return left / max(whole, 1e-12)
