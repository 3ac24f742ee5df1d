"""Whether images show one place, and where each lies on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fabloom.plugins.blocks.difference import blur, grey
from fabloom.plugins.blocks.references import ODD
from fabloom.plugins.blocks.registration import Placement, Register

from .features import Patches, middle

Pixels = NDArray[np.uint8]
EDGE = 6
"""Pixels from the edge of an image within which its mirrored continuation counts."""


@dataclass(frozen=True)
class Anchor:
    """The clean picture, blurred [H,W], that images are placed on."""

    register: Register

    @classmethod
    def of(cls, images: Pixels) -> Anchor:
        """The one of some clean images [K,C,H,W] that is most like the middle of them."""
        pictures = grey(images)
        soft = blur(pictures)
        middle_one = np.median(soft, axis=0)
        best = int(np.argmin([np.abs(one - middle_one).mean() for one in soft]))
        return cls(Register.of(soft[best], pictures[best]))

    @classmethod
    def kept(cls, picture: Tensor, noise: float) -> Anchor:
        """As a model keeps it."""
        return cls(Register(picture.double().numpy(), noise))

    def place(self, image: Pixels) -> Placement:
        """Where an image [C,H,W] lies."""
        return self.register.place(blur(grey(image[None])[0]))


def one_place(placed: Sequence[Placement]) -> bool:
    """Whether images that lie so show one place, a shift apart at most, but for a few odd ones."""
    return sum(one.verdict == "unlike" for one in placed) <= ODD * len(placed)


def phase(placed: Placement | None, stride: int) -> tuple[int, int]:
    """The phase (down, right) of the cells of an image that lies so: with it they lie on the anchor's, to half a pixel."""
    if placed is None or placed.verdict == "unlike":
        return 0, 0
    down, right = (round(by) % stride for by in placed.shift)
    return down, right


def places(part: Patches, size: tuple[int, int], stride: int, placed: Placement) -> Tensor:
    """Pixels [h,w,2] of the anchor under the middles of cells of an image of this size that lies so.

    Infinite, which is nowhere, within `EDGE` pixels of the edge of an image that is shifted: there a trunk sees the mirrored image where
    the clean ones go on.
    """
    down, across = (
        torch.tensor([middle(first + cell, stride, by) for cell in range(many)], dtype=torch.float32)
        for first, many, by in zip((part.top, part.left), part.features.shape[1:3], phase(placed, stride), strict=True)
    )
    found = torch.stack(torch.meshgrid(down, across, indexing="ij"), -1)
    inner = ((found >= EDGE) & (found <= torch.tensor(size) - 1 - EDGE)).all(-1, keepdim=True)
    where = found - torch.tensor(placed.shift, dtype=torch.float32)
    return where if placed.verdict == "in place" else where.masked_fill(~inner, torch.inf)
