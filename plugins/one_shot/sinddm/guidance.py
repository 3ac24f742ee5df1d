"""What a user can fix: content at chosen places (regions), and images with something pasted in (composites)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from fabloom.errors import DataError
from fabloom.kinds import ImageSet
from fabloom.kinds.masks import is_defect
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


@dataclass(frozen=True)
class Composites:
    """Images uint8 [N,C,H,W] to be repaired, and how much of each pixel may change, [N,1,H,W] in 0..1."""

    images: Tensor
    weights: Tensor

    @classmethod
    def read(cls, given: ImageSet, size: Size, channels: int, margin: int) -> Composites:
        """Those rows of a set that have a mask. Raises DataError for no masks, another size or other channels."""
        if given.masks is None:
            raise DataError(f"composite set {given.key[:12]} has no masks: they say where something was pasted in")
        if given.images.shape[2:] != size:
            height, width = given.images.shape[2:]
            raise DataError(f"the composites are {height} x {width}, the model's images {size[0]} x {size[1]}; both need one size")
        masks = torch.from_numpy(is_defect(given.masks[...]))
        rows = masks.flatten(1).any(1)
        if not rows.any():
            raise DataError(f"all masks of composite set {given.key[:12]} are empty: nothing to repair")
        pixels = np.asarray(given.images[...])[rows.numpy()]
        if len(pixels[0]) > channels == 1 and (pixels == pixels[:, :1]).all():
            pixels = pixels[:, :1]
        if pixels.shape[1] != channels:
            raise DataError(f"the composites have {pixels.shape[1]} channels, the training image {channels}")
        return cls(torch.from_numpy(pixels), softened(masks[rows].float()[:, None], margin))

    def rows(self, numbers: range) -> tuple[Tensor, Tensor]:
        """Images and weights of the samples of these numbers; they start again where there are fewer composites."""
        index = torch.tensor(numbers) % len(self.images)
        return self.images[index], self.weights[index]


def softened(masks: Tensor, margin: int) -> Tensor:
    """Masks [N,1,H,W] widened by `margin` pixels, then blurred over as many: 1 in the mask, 0 from 2 `margin` pixels on."""
    if margin == 0:
        return masks
    side = 2 * margin + 1
    widened = ndimage.maximum_filter(masks.numpy(), (1, 1, side, side))
    return torch.from_numpy(ndimage.gaussian_filter(widened, margin / 2, axes=(2, 3), radius=margin, mode="nearest"))
