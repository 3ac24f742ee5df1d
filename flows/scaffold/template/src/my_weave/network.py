"""The network: three convolutions that see the image, the time, and where they are."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

WAVES = 6
"""Sines and cosines each way: what is fixed to a place, such as a line, can be learned (Tancik et al. 2020)."""


class Velocity(nn.Module):
    """(x float32 [N,1,H,W], time [N,1,1,1] on [0, 1]) to a velocity [N,1,H,W]."""

    places: Tensor

    def __init__(self, width: int, size: Sequence[int]) -> None:
        super().__init__()
        self.register_buffer("places", waves(*size), persistent=False)
        self.layers = nn.Sequential(
            nn.Conv2d(2 + 4 * WAVES, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 1, 3, padding=1),
        )

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """The velocity at x and time."""
        count, _, height, width = x.shape
        seen = [x, time.expand(count, 1, height, width), self.places.expand(count, -1, -1, -1)]
        velocity: Tensor = self.layers(torch.cat(seen, 1))
        return velocity


def waves(height: int, width: int) -> Tensor:
    """Sines and cosines of 1, 2, 4, ... half periods across the image, both ways: float32 [1, 4 WAVES, H, W]."""
    y, x = torch.meshgrid(torch.linspace(0, 1, height), torch.linspace(0, 1, width), indexing="ij")
    found = [wave(math.pi * 2**power * place) for power in range(WAVES) for place in (y, x) for wave in (torch.sin, torch.cos)]
    return torch.stack(found)[None]
