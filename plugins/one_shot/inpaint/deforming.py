"""Smooth random deformations of pictures: other sizes and other outlines of the shapes that were seen."""

from __future__ import annotations

from math import exp, log

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from .params import Deformation

KNOTS = 8
"""Pixels between the knots of a warp."""


def deformation(params: Deformation, size: tuple[int, int], centre: tuple[float, float], source: torch.Generator) -> Tensor:
    """Where each pixel of a picture of this size is taken from, [1,h,w,2] as `grid_sample` counts: scaled about a centre (y, x) in pixels,
    and moved by a smooth warp.
    """
    low, high = (log(factor) for factor in params.scale)
    drawn = torch.rand(2, generator=source)
    middle = torch.tensor(centre)
    knots = [max(-(-side // KNOTS), 1) + 1 for side in size]
    moves = params.warp * torch.randn(1, 2, *knots, generator=source)
    warp = interpolate(moves, size=size, mode="bicubic", align_corners=True)[0].permute(1, 2, 0)
    factors = torch.tensor([exp(low + float(one) * (high - low)) for one in drawn])
    rows, columns = torch.meshgrid(*(torch.arange(side, dtype=torch.float32) for side in size), indexing="ij")
    at = middle + (torch.stack([rows, columns], -1) - middle) / factors + warp
    unit = (2 * at + 1) / torch.tensor(size) - 1
    return unit.flip(-1)[None]


def deformed(pictures: Tensor, grid: Tensor) -> Tensor:
    """Pictures [K,h,w], all moved alike; the border comes in from outside."""
    return grid_sample(pictures[None], grid, padding_mode="border", align_corners=False)[0]


def centre_of(mask: Tensor) -> tuple[float, float]:
    """Mean row and column of a mask [h,w] that is not empty."""
    y, x = (float(axis.float().mean()) for axis in mask.nonzero(as_tuple=True))
    return y, x
