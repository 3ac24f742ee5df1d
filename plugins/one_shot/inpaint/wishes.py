"""Which defects are asked for: where, in which shape, of which class. Shapes are those of real defects, varied, or drawn by a user."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from fabloom.errors import DataError
from fabloom.kinds import ImageSet
from fabloom.kinds.masks import is_defect
from fabloom.plugins.blocks.components import EIGHT
from fabloom.plugins.blocks.cutouts.places import Places
from fabloom.plugins.blocks.cutouts.residuals import Residual
from fabloom.plugins.blocks.streams import numpy_stream, stream

from .deforming import centre_of, deformation, deformed
from .params import SampleParams

Mask = NDArray[np.bool_]
TRIES = 8
"""How often another place is looked for where defects would lie on one another."""


@dataclass(frozen=True)
class Wish:
    """A defect: its mask [h,w], the first row and column of that in the frame, its class (counted from 0), the source of its shape."""

    mask: Mask
    corner: tuple[int, int]
    kind: int
    source: int | None


class Wishes(Protocol):
    """Says what is asked for in sample `number` on a clean frame."""

    def of(self, number: int, frame: int) -> list[Wish]:
        """The defects, none of which lies on another."""
        ...


@dataclass(frozen=True)
class Shapes:
    """Shapes of the real `pieces`, deformed, where the structure looks as it did around them; with the class and the source of each."""

    params: SampleParams
    pieces: Sequence[Residual]
    kinds: Sequence[int]
    sources: Sequence[int]
    places: Places
    seed: int

    def of(self, number: int, frame: int) -> list[Wish]:
        """As many as a Poisson distribution says, of random defects."""
        draw, taken, found = numpy_stream(self.seed, f"shapes/{number}"), np.zeros(self.places.size, bool), []
        for index in range(int(draw.poisson(self.params.rate))):
            which = int(draw.integers(len(self.pieces)))
            piece, spots = self.places.fit(which, frame, draw)
            shape, pad = self._shape(piece, stream(self.seed, f"shape/{number}/{index}"))
            for _ in range(TRIES if len(spots) else 0):
                top, left = spots[draw.integers(len(spots))].tolist()
                wish = placed(shape, (top - pad, left - pad), self.places.size, self.kinds[which])
                if wish is None:
                    continue
                part = tuple(slice(at, at + side) for at, side in zip(wish.corner, wish.mask.shape, strict=True))
                if not (taken[part] & wish.mask).any():
                    taken[part] |= ndimage.binary_dilation(wish.mask, EIGHT)
                    found.append(Wish(wish.mask, wish.corner, wish.kind, self.sources[which]))
                    break
        return found

    def _shape(self, piece: Residual, source: torch.Generator) -> tuple[Mask, int]:
        """A mask like that of a piece, and how many pixels it may reach beyond its box on every side."""
        pad = ceil((self.params.scale[1] - 1) * max(piece.box) / 2 + 3 * self.params.warp) + 1
        mask = torch.from_numpy(np.pad(is_defect(piece.mask), pad)).float()
        grid = deformation(self.params, (mask.shape[0], mask.shape[1]), centre_of(mask), source)
        return deformed(mask[None], grid)[0].numpy() > 0.5, pad


def placed(shape: Mask, corner: tuple[int, int], size: tuple[int, int], kind: int) -> Wish | None:
    """A shape at a place, cut to the frame; None where nothing is left."""
    clips = [(max(-at, 0), min(whole - at, side)) for at, side, whole in zip(corner, shape.shape, size, strict=True)]
    inside = shape[clips[0][0] : max(clips[0][1], 0), clips[1][0] : max(clips[1][1], 0)]
    if not inside.any():
        return None
    (box,) = ndimage.find_objects(inside.astype(np.uint8))
    top, left = (at + clip[0] + span.start for at, clip, span in zip(corner, clips, box, strict=True))
    return Wish(inside[box], (top, left), kind, None)


@dataclass(frozen=True)
class Drawn:
    """The masks of a set, in turn; each connected part of one value is a defect. `table` gives the class of each value, None: any."""

    masks: ImageSet
    table: dict[int, int | None]
    by_row: Sequence[int | None]
    kinds: int
    seed: int

    @classmethod
    def read(cls, masks: ImageSet, size: tuple[int, int], names: Sequence[str], labels: Sequence[int], seed: int) -> Drawn:
        """For frames of a size, and a model whose classes have these labels among its class `names`.

        Raises DataError for a set without masks or of another size, and for a class that the model has seen no defect of.
        """
        if masks.masks is None:
            raise DataError(f"set {masks.key[:12]} at port 'masks' has no masks: load the drawings as masks of images (images.load)")
        held = tuple(int(side) for side in masks.masks.shape[1:])
        if held != tuple(size):
            raise DataError(f"the masks of set {masks.key[:12]} are {held[0]} x {held[1]}, the clean images {size[0]} x {size[1]}")

        def kind(name: str) -> int:
            known = [names[label] for label in labels]
            if name not in known:
                raise DataError(f"masks ask for a defect of class '{name}', and the model has seen none: it knows {', '.join(known)}")
            return known.index(name)

        told = masks.mask_names
        several = bool(names) and told != ["clean", "defect"]
        table = {
            value: kind(name) if several else None for value, name in enumerate(told) if value and (not several or _holds(masks, value))
        }
        by_row: list[int | None] = [None] * len(masks)
        if names and not several and masks.labels is not None:
            by_row = [kind(masks.class_names[label]) if label else None for label in masks.labels[...].tolist()]
        return cls(masks, table, by_row, len(labels), seed)

    def of(self, number: int, frame: int) -> list[Wish]:
        """Every connected part of the drawing, of its class, or of a random one."""
        assert self.masks.masks is not None
        row = number % len(self.masks)
        mask, draw, found = np.asarray(self.masks.masks[row : row + 1])[0], numpy_stream(self.seed, f"classes/{number}"), []
        for value in np.unique(mask[is_defect(mask)]).tolist():
            parts, _ = ndimage.label(mask == value, EIGHT)
            for index, box in enumerate(ndimage.find_objects(parts), start=1):
                kind = self.table.get(value)
                kind = self.by_row[row] if kind is None else kind
                kind = int(draw.integers(self.kinds)) if kind is None else kind
                found.append(Wish(parts[box] == index, (int(box[0].start), int(box[1].start)), kind, None))
        return found


def _holds(masks: ImageSet, value: int) -> bool:
    assert masks.masks is not None
    return any((np.asarray(masks.masks[row : row + 1]) == value).any() for row in range(len(masks)))
