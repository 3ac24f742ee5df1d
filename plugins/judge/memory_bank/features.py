"""Features of the patches of images: averaged over neighbours, several layers on one grid, large frames window by window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from fabloom.plugins.blocks.grey import GreyMap

from .trunks import Trunk

Pixels = NDArray[np.uint8]
HALO = 16
"""Pixels around a window that the trunk sees too; beyond the edge of an image it is mirrored."""
WINDOW = 256
"""Pixels a side of the windows into which a larger image is cut."""
AT_ONCE = 2**17
"""Pixels that go through the trunk at once."""


@dataclass(frozen=True)
class Patches:
    """Patch features [B,h,w,D] of a window of images, whose first cell is (`top`, `left`) of the grid of the image."""

    features: Tensor
    top: int
    left: int


@dataclass(frozen=True)
class Reader:
    """Turns images into patches: cell i of the grid lies at pixel stride * i + (stride - 1) / 2 + phase.

    The phase (down, right) is 0, or where an image lies a shift from the place of the bank what brings its cells onto the same pixels of
    that place: what a trunk sees of a structure depends on where its cells lie on it.
    """

    trunk: Trunk
    grey: GreyMap
    patch: int
    zoom: int
    device: torch.device

    @property
    def stride(self) -> int:
        """Pixels from one patch to the next."""
        return max(1, self.trunk.stride // self.zoom)

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of patches of images of this size."""
        return -(-size[0] // self.stride), -(-size[1] // self.stride)

    def at_once(self, size: tuple[int, int]) -> int:
        """Images of this size that are read together."""
        return max(1, AT_ONCE // ((min(size[0], WINDOW) + 2 * HALO) * (min(size[1], WINDOW) + 2 * HALO) * self.zoom**2))

    def windows(self, images: Pixels, phase: tuple[int, int] = (0, 0)) -> Iterator[Patches]:
        """The patches of images [B,C,H,W] of one phase, window by window."""
        size, side = (images.shape[2], images.shape[3]), WINDOW // self.stride
        rows, columns = self.grid(size)
        for top in range(0, rows, side):
            for left in range(0, columns, side):
                yield self._window(images, range(top, min(top + side, rows)), range(left, min(left + side, columns)), phase)

    def _window(self, images: Pixels, rows: range, columns: range, phase: tuple[int, int]) -> Patches:
        boxes = [span(cells, self.stride, self.trunk.unit, by) for cells, by in zip((rows, columns), phase, strict=True)]
        x, parts = self.grey.forward(mirrored(images, boxes)).to(self.device), []
        if self.zoom > 1:
            x = interpolate(x, scale_factor=self.zoom, mode="bilinear", align_corners=False)
        with torch.inference_mode():
            for layer, every, begin in self.trunk(x):
                soft = avg_pool2d(layer, self.patch, 1, self.patch // 2, count_include_pad=False)
                stride, first = every / self.zoom, (begin + 0.5) / self.zoom - 0.5  # in pixels of the image as it is
                down, across = (
                    laid([middle(cell, self.stride, by) - box[0] for cell in cells], soft.shape[axis], stride, first).to(soft)
                    for axis, cells, box, by in zip((2, 3), (rows, columns), boxes, phase, strict=True)
                )
                parts.append(torch.einsum("ij,bcjk,lk->bilc", down, soft, across))
        return Patches(torch.cat(parts, -1).float(), rows.start, columns.start)


def middle(cell: int, stride: int, phase: int) -> float:
    """The pixel under the middle of a cell."""
    return stride * cell + (stride - 1) / 2 + phase


def span(cells: range, stride: int, unit: int, phase: int) -> tuple[int, int]:
    """First pixel, and the one after the last, that the trunk sees of a row of cells: with a halo, a multiple of `unit` long."""
    start, stop = cells.start * stride - HALO + phase, cells.stop * stride + HALO + phase
    return start, stop + (start - stop) % unit


def mirrored(images: Pixels, boxes: list[tuple[int, int]]) -> Pixels:
    """A box of images [B,C,H,W], mirrored where it reaches beyond them."""
    rows, columns = (reflected(np.arange(*box), length) for box, length in zip(boxes, images.shape[2:], strict=True))
    return images[:, :, rows[:, None], columns]


def reflected(at: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Pixels beyond the ends of an axis as those within it that they mirror, the border pixel not repeated."""
    period = max(2 * (length - 1), 1)
    folded = np.abs(at) % period
    found: NDArray[np.int64] = np.minimum(folded, period - folded)
    return found


def laid(pixels: list[float], count: int, stride: float, first: float) -> Tensor:
    """Linear interpolation at pixels of an axis of `count` cells, cell i at stride * i + first: weights [pixels, count]."""
    return _laid(tuple(pixels), count, stride, first)


@lru_cache(maxsize=64)
def _laid(pixels: tuple[float, ...], count: int, stride: float, first: float) -> Tensor:
    at = ((torch.tensor(pixels, dtype=torch.float64) - first) / stride).clamp(0, count - 1)
    low = at.floor().long().clamp(max=max(count - 2, 0))
    part = (at - low).float()
    found = torch.zeros(len(pixels), count)
    rows = torch.arange(len(pixels))
    found[rows, low] = 1 - part
    found[rows, (low + 1).clamp(max=count - 1)] += part
    return found
