"""The fully convolutional network that SinDDM and SinSEMI share: four blocks, told the time and the scale.

No pooling, attention or normalisation: the receptive field is 33 x 33 pixels. The zero padding is all that tells it where the
borders are.
"""

from __future__ import annotations

from itertools import pairwise
from math import log

import torch
from torch import Tensor, nn

FREQUENCIES = 16
EMBEDDING = 32
RECEPTIVE_FIELD = 33


def embed(values: Tensor) -> Tensor:
    """[sin(a f_k), cos(a f_k)] with f_k = exp(-k ln(10^4) / 15), k = 0..15: values [B] to [B,32]."""
    exponents = torch.arange(FREQUENCIES, device=values.device, dtype=torch.float32) / (FREQUENCIES - 1)
    angles = values.float()[:, None] * torch.exp(-log(1e4) * exponents)
    return torch.cat([angles.sin(), angles.cos()], 1)


class ScaleBlock(nn.Module):
    """Depthwise 5x5, a shift by the embedding, two 3x3 convolutions with a GELU between, and a residual."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.mix = nn.Linear(EMBEDDING, EMBEDDING)
        self.shift = nn.Conv2d(EMBEDDING, channels_in, 1)
        self.depthwise = nn.Conv2d(channels_in, channels_in, 5, padding=2, groups=channels_in)
        self.first = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.second = nn.Conv2d(channels_out, channels_out, 3, padding=1)
        self.residual = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x [B,Ci,H,W] and condition [B,32] to [B,Co,H,W]."""
        shift = self.shift(self.mix(nn.functional.gelu(condition))[:, :, None, None])
        # sums in place: no convolution needs its own output for its gradient, and memory is what large frames wait for
        inner = self.first(self.depthwise(x).add_(shift))
        out: Tensor = self.second(nn.functional.gelu(inner)).add_(self.residual(x))
        return out


class ScaleNetwork(nn.Module):
    """(x [B,C,H,W], time [B], scale [B], context [1 or B,K,H,W]) to [B,C,H,W], any height and width.

    Blocks C+K -> D/2 -> D -> D -> D/2 and a 1x1 head. `width` D is 160 as published: 1,104,892 parameters for one channel,
    1,106,772 for three, without context. `context` counts further input channels that say where a pixel lies; the published
    network has none.
    """

    def __init__(self, channels: int = 1, width: int = 160, context: int = 0) -> None:
        super().__init__()
        self.condition = nn.Sequential(nn.Linear(2 * EMBEDDING, 4 * EMBEDDING), nn.GELU(), nn.Linear(4 * EMBEDDING, EMBEDDING))
        widths = [channels + context, width // 2, width, width, width // 2]
        self.blocks = nn.ModuleList(ScaleBlock(a, b) for a, b in pairwise(widths))
        self.head = nn.Conv2d(width // 2, channels, 1)
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a sixth less time on a CPU

    def forward(self, x: Tensor, time: Tensor, scale: Tensor, context: Tensor | None = None) -> Tensor:
        """One evaluation; `time` as the method counts it, `scale` the index of the scale, 0 the coarsest."""
        condition = self.condition(torch.cat([embed(time), embed(scale)], 1))
        if context is not None:
            x = torch.cat([x, context.to(x).expand(x.shape[0], -1, -1, -1)], 1)
        for block in self.blocks:
            x = block(x, condition)
        out: Tensor = self.head(x)
        return out
