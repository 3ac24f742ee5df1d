"""From images to maps of distances: patches against the bank, between the patches by interpolation, smoothed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from fabloom.plugins.blocks.registration import Placement

from .bank import Bank
from .features import Pixels, Reader, laid, middle
from .places import Anchor, phase, places

Maps = NDArray[np.float32]


@dataclass(frozen=True)
class Mapper:
    """What makes maps: `weights` [D] are one over the scale of each feature, `anchor` is of registered images."""

    reader: Reader
    weights: Tensor
    bank: Bank
    anchor: Anchor | None
    smooth: float

    def of(self, images: Pixels) -> tuple[Maps, int]:
        """Maps [B,H,W] of images [B,C,H,W], and how many of these do not show the place of the bank, so that all of it was searched."""
        lies = [None if self.anchor is None else self.anchor.place(image) for image in images]
        phases = [phase(placed, self.reader.stride) for placed in lies]
        whole = np.empty((len(images), *images.shape[2:]), np.float32)
        for one in sorted(set(phases)):
            rows = [row for row, other in enumerate(phases) if other == one]
            whole[rows] = self._alike(images[rows], one, [lies[row] for row in rows])
        if self.smooth:
            whole = ndimage.gaussian_filter(whole, (0, self.smooth, self.smooth), mode="mirror")
        return whole, sum(one is not None and one.verdict == "unlike" for one in lies)

    def _alike(self, images: Pixels, by: tuple[int, int], lies: Sequence[Placement | None]) -> Maps:
        """Maps of images of one phase, not smoothed."""
        stride, size = self.reader.stride, images.shape[2:]
        found = torch.empty(len(images), *self.reader.grid((size[0], size[1])))
        for part in self.reader.windows(images, by):
            high, wide = part.features.shape[1:3]
            for row, placed in enumerate(lies):
                where = places(part, (size[0], size[1]), stride, placed) if placed is not None and placed.verdict != "unlike" else None
                features = (part.features[row] * self.weights).cpu()
                found[row, part.top : part.top + high, part.left : part.left + wide] = self.bank.distances(features, where)
        down, across = (
            laid([float(pixel) for pixel in range(length)], cells, stride, middle(0, stride, off))
            for length, cells, off in zip(size, found.shape[1:], by, strict=True)
        )
        maps: Maps = torch.einsum("ij,bjk,lk->bil", down, found, across).numpy()
        return maps


def distance(score: float, threshold: float) -> float:
    """The distance that has a score: t s / (1 - s)."""
    return threshold * score / (1 - score)
