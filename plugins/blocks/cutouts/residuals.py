"""What a defect changes: the difference to the clean image, faded out around the mask, cut into one piece a defect."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fabloom.kinds.masks import is_defect
from fabloom.plugins.blocks.components import EIGHT
from fabloom.plugins.blocks.ground import grey_of
from fabloom.plugins.blocks.transplants import fraction, shifted, surroundings

Pixels = NDArray[np.uint8]
Real = NDArray[np.float64]
Pixel = TypeVar("Pixel", bound=np.generic)


@dataclass(frozen=True)
class Residual:
    """One defect: `change` [C,h,w] to be added to a clean image, `mask` [h,w], and the clean `around` [a,b] it, the box `at` in that.

    `weight` [h,w] is 1 in the mask and fades out to 0. `corner` is the first row and column of the box in the image that it is from.
    """

    change: Real
    weight: Real
    mask: Pixels
    around: Real
    at: tuple[int, int]
    corner: tuple[int, int] = (0, 0)

    @property
    def box(self) -> tuple[int, int]:
        """Height and width."""
        return self.mask.shape[0], self.mask.shape[1]

    def turned(self, turn: int) -> Residual:
        """The same by `turn` 0..7: turned by so many right angles, from 4 on mirrored first."""
        inside = np.zeros(self.around.shape, bool)
        inside[self.at[0] : self.at[0] + self.box[0], self.at[1] : self.at[1] + self.box[1]] = True
        first = [int(np.flatnonzero(turned(inside, turn).any(axis))[0]) for axis in (1, 0)]
        change, weight, around = (turned(part, turn) for part in (self.change, self.weight, self.around))
        return Residual(change, weight, turned(self.mask, turn), around, (first[0], first[1]))


def fitted(piece: Residual, grey: Real, spot: tuple[int, int]) -> Residual:
    """The defect moved by the fraction of a pixel by which the structure of a grey clean image [H,W] at a spot is off the one around it."""
    shift = fraction(grey, piece.around, (spot[0] - piece.at[0], spot[1] - piece.at[1]))
    if shift is None:
        return piece
    weight = ndimage.shift(piece.weight, shift, order=1, mode="constant")
    return replace(
        piece, change=shifted(piece.change, shift), weight=weight, mask=ndimage.shift(piece.mask, shift, order=0, mode="constant")
    )


def turned(picture: NDArray[Pixel], turn: int) -> NDArray[Pixel]:
    """A picture [..,h,w] mirrored left-right where `turn` is 4 or more, then turned by so many right angles against the clock."""
    return np.ascontiguousarray(np.rot90(np.flip(picture, -1) if turn >= 4 else picture, turn % 4, (-2, -1)))


def cut(residual: Real, clean: Real, mask: Pixels, margin: int) -> list[Residual]:
    """The defects of a residual [C,H,W], NaN where it is not known: one for each connected part of the widened mask [H,W]."""
    seen = np.asarray(np.isfinite(residual).all(0))
    drawn = is_defect(mask) & seen
    away = ndimage.distance_transform_edt(~drawn) if drawn.any() else np.full(drawn.shape, np.inf)
    weight = np.where(seen, np.clip(1 - away / (margin + 1), 0, 1), 0)
    change = np.where(seen, np.nan_to_num(residual), 0) * weight
    parts, _ = ndimage.label(weight > 0, EIGHT)
    grey, found = grey_of(clean), []
    for index, box in enumerate(ndimage.find_objects(parts), start=1):
        inside = np.asarray(parts[box] == index)
        size = inside.shape[0], inside.shape[1]
        around, at = surroundings(grey, box[0].start, box[1].start, size)
        pieces = np.where(inside, change[:, *box], 0), np.where(inside, weight[box], 0), np.where(inside & seen[box], mask[box], 0)
        corner = int(box[0].start), int(box[1].start)
        found.append(Residual(pieces[0], pieces[1], pieces[2].astype(np.uint8), around, at, corner))
    return found
