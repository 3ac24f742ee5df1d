"""What a user can fix: content at chosen places."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from fabloom.errors import DataError
from fabloom.plugins.blocks.pyramid import Pyramid, Size, resize

from .params import Box, Region


@dataclass(frozen=True)
class Placed:
    """A patch [1,C,h,w] and the rows and columns of a scale where it belongs."""

    patch: Tensor
    rows: slice
    columns: slice


@dataclass(frozen=True)
class Regions:
    """Blends patches of the training image into the clean image of every step at all trained scales but the finest."""

    placed: Mapping[int, Sequence[Placed]]
    strength: float

    @classmethod
    def build(cls, regions: Sequence[Region], strength: float, pyramid: Pyramid, sizes: Sequence[Size]) -> Regions:
        """Patches for outputs with the `sizes` of the trained scales.

        Raises DataError for a box outside its image, and for a model of one scale, which has no scale but the finest.
        """
        if regions and len(pyramid.images) == 1:
            raise DataError("regions act at all scales but the finest, and this model has one scale only; train on a larger image")
        for index, region in enumerate(regions):
            _inside(region.source, pyramid.sizes[-1], f"regions[{index}].source", "the training image")
            _inside(region.target, sizes[-1], f"regions[{index}].target", "the output")
        placed: dict[int, list[Placed]] = {}
        for scale, (image, size) in enumerate(zip(pyramid.images[:-1], sizes, strict=False)):
            for region in regions:
                top, left = _cut(region.source, pyramid.sizes[scale], pyramid.sizes[-1])
                rows, columns = _cut(region.target, size, sizes[-1])
                patch = resize(image[:, :, top, left], (rows.stop - rows.start, columns.stop - columns.start))
                placed.setdefault(scale, []).append(Placed(patch, rows, columns))
        return cls(placed, strength)

    def __call__(self, clean: Tensor, scale: int) -> Tensor:
        """The clean image with strength * patch + (1 - strength) * itself inside every region."""
        if scale not in self.placed:
            return clean
        guided = clean.clone()
        for one in self.placed[scale]:
            there = guided[:, :, one.rows, one.columns]
            guided[:, :, one.rows, one.columns] = there.lerp(one.patch.to(there), self.strength)
        return guided


def _inside(box: Box, size: Size, name: str, image: str) -> None:
    if box.top + box.height > size[0] or box.left + box.width > size[1]:
        raise DataError(
            f"{name}: rows {box.top}..{box.top + box.height} and columns {box.left}..{box.left + box.width} "
            f"leave {image} of {size[0]} x {size[1]}"
        )


def _cut(box: Box, size: Size, finest: Size) -> tuple[slice, slice]:
    """Rows and columns of the box at another scale, one pixel or more."""

    def scaled(start: int, length: int, side: int, whole: int) -> slice:
        first = min(round(start * side / whole), side - 1)
        return slice(first, max(round((start + length) * side / whole), first + 1))

    return scaled(box.top, box.height, size[0], finest[0]), scaled(box.left, box.width, size[1], finest[1])
