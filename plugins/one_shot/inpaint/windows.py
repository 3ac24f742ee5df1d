"""What is trained on: windows around the real defects, at their own places and at others that look alike, never twice the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import max_pool2d

from fabloom.kinds.masks import is_defect
from fabloom.plugins.blocks.cutouts.cutting import Cut
from fabloom.plugins.blocks.cutouts.places import Places
from fabloom.plugins.blocks.cutouts.residuals import Residual, fitted
from fabloom.plugins.blocks.grey import GreyMap

from .deforming import centre_of, deformation, deformed
from .params import TrainParams

Real = NDArray[np.float64]
AROUND, JITTER = 8, 4
"""Pixels of structure around a defect, and by which a window may lie aside."""
SMALLEST, LARGEST = 32, 64
"""Sides of windows that follow from the defects."""
PIXELS = 2**22
"""Most pixels of clean images in which other places of one defect are looked for."""
GAIN, SHIFT = 0.05, 0.05
"""Largest changes of brightness: a factor, and in half grey ranges."""


def side_of(window: int | None, pieces: Sequence[Residual]) -> int:
    """Side of a window: as given, else as the largest defect needs it."""
    if window is not None:
        return window
    largest = max(max(piece.box) for piece in pieces) + 2 * AROUND
    return min(max(-(-largest // 8) * 8, SMALLEST), LARGEST)


def within(start: int, length: int, side: int) -> NDArray[np.intp]:
    """Rows or columns start .. start + length - 1 of an image that goes on mirrored beyond its border."""
    turn = np.arange(start, start + length) % (2 * side)
    return np.where(turn < side, turn, 2 * side - 1 - turn)


@dataclass(frozen=True)
class Units:
    """Network values: clean grey levels by `grey` to [-1, 1], changes over `change` grey levels."""

    grey: GreyMap
    change: float

    @property
    def slope(self) -> float:
        """Network values a grey level of a clean image."""
        return 2.0 / (self.grey.high - self.grey.low)


@dataclass(frozen=True)
class Window:
    """A clean `ground` [C,s,s] and what it looks like with a defect, `spoilt` [C,s,s], in the network's grey; the mask [s,s] of 0 and 1;
    the `weight` [s,s], 1 in the mask and fading out.
    """

    ground: Tensor
    spoilt: Tensor
    mask: Tensor
    weight: Tensor

    @classmethod
    def around(cls, ground: Real, piece: Residual, corner: tuple[int, int], side: int, units: Units) -> Window:
        """A piece on a clean picture [C,H,W], its box at `corner`, with at least so many pixels a side."""
        side = max(side, *piece.box)
        first = [at - (side - box) // 2 for at, box in zip(corner, piece.box, strict=True)]
        rows, columns = (within(start, side, whole) for start, whole in zip(first, ground.shape[1:], strict=True))
        inner = tuple(slice(at - start, at - start + box) for at, start, box in zip(corner, first, piece.box, strict=True))
        clean = units.grey.forward(torch.from_numpy(ground[:, rows][:, :, columns]))
        spoilt, mask, weight = clean.clone(), torch.zeros(side, side), torch.zeros(side, side)
        spoilt[:, *inner] += torch.from_numpy(piece.change).float() * units.slope
        mask[inner] = torch.from_numpy(is_defect(piece.mask)).float()
        weight[inner] = torch.from_numpy(piece.weight).float()
        return cls(clean, spoilt, mask, weight)

    def varied(self, params: TrainParams, units: Units, side: int, source: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """A part of this side: ground, change in units of the changes, mask. The defect is deformed, its contrast and the brightness are
        others.

        What is deformed is how the defect looks, not what it changes: a hole that is missing stays flat ground in whatever shape.
        """
        top, left = (int(torch.randint(self.mask.shape[0] - side + 1, (), generator=source)) for _ in range(2))
        part = slice(top, top + side), slice(left, left + side)
        ground, spoilt = self.ground[:, *part], self.spoilt[:, *part]
        beside = torch.stack([self.mask[part], self.weight[part]])
        if beside[0].any():
            grid = deformation(params, (side, side), centre_of(beside[0]), source)
            moved = deformed(torch.cat([spoilt, beside]), grid)
            spoilt, beside = moved[:-2], moved[-2:]
        mask = (beside[0] > 0.5).float()
        factor, gain, shift = torch.rand(3, generator=source).tolist()
        low, high = (log(one) for one in params.contrast)
        bright = 1 + GAIN * (2 * gain - 1)
        change = torch.maximum(beside[1], mask) * (spoilt - ground) / (units.slope * units.change)
        return bright * ground + SHIFT * (2 * shift - 1), bright * exp(low + factor * (high - low)) * change, mask


@dataclass(frozen=True)
class Bank:
    """Windows by defect, its own place first; `kinds` is the class of each defect, counted from 0."""

    windows: Sequence[Sequence[Window]]
    kinds: Sequence[int]
    side: int
    units: Units

    @classmethod
    def of(
        cls,
        params: TrainParams,
        found: Sequence[Cut],
        kinds: Sequence[int],
        smooth: Real,
        places: Places,
        units: Units,
        draw: np.random.Generator,
    ) -> Bank:
        """Of defects as they were cut out, and clean pictures [K,C,H,W] without noise."""
        side = side_of(params.window, [one.piece for one in found])
        wanted, whole = side + 2 * JITTER, smooth.shape[2] * smooth.shape[3]
        tries = min(params.copies, max(PIXELS // whole, 1))
        windows = []
        for number, one in enumerate(found):
            held = [Window.around(one.ground, one.piece, one.piece.corner, wanted, units)]
            for _ in range(tries):
                clean = int(draw.integers(len(smooth)))
                piece, spots = places.fit(number, clean, draw)
                if len(spots):
                    top, left = spots[draw.integers(len(spots))].tolist()
                    laid = fitted(piece, places.grey(clean), (top, left))
                    held.append(Window.around(smooth[clean], laid, (top, left), wanted, units))
            windows.append(held)
        return cls(windows, kinds, side, units)

    def draw(self, params: TrainParams, source: torch.Generator) -> Batch:
        """Windows of random defects, half of them at the own place."""
        made, kinds = [], []
        for number in torch.randint(len(self.windows), (params.batch,), generator=source).tolist():
            held = self.windows[number]
            other = int(torch.randint(2 * max(len(held) - 1, 1), (), generator=source))
            made.append(held[other + 1 if other + 1 < len(held) else 0].varied(params, self.units, self.side, source))
            kinds.append(self.kinds[number])
        ground, change, mask = (torch.stack(parts) for parts in zip(*made, strict=True))
        mask = loosened(mask[:, None], params.loose, source)
        t = torch.rand(len(made), 1, 1, 1, generator=source)
        return Batch(ground, change, mask, torch.tensor(kinds), t, torch.randn(change.shape, generator=source))

    def __len__(self) -> int:
        return sum(map(len, self.windows))


@dataclass(frozen=True)
class Batch:
    """Clean windows and changes [B,C,s,s], masks [B,1,s,s], classes [B], times [B,1,1,1] and noise like the changes."""

    ground: Tensor
    change: Tensor
    mask: Tensor
    kinds: Tensor
    t: Tensor
    z: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(*(getattr(self, name).to(device) for name in ("ground", "change", "mask", "kinds", "t", "z")))


def loosened(masks: Tensor, share: float, source: torch.Generator) -> Tensor:
    """Masks [B,1,s,s], a share of them 1 or 2 pixels wider."""
    drawn = torch.rand(2, len(masks), 1, 1, 1, generator=source)
    return torch.where(drawn[0] < share, torch.where(drawn[1] < 0.5, widened(masks, 1), widened(masks, 2)), masks)


def widened(masks: Tensor, pixels: int) -> Tensor:
    """Masks [B,1,h,w] of 0 and 1, wider by so many pixels on every side."""
    return max_pool2d(masks, 2 * pixels + 1, 1, pixels)
