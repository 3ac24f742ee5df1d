"""The network of SinFusion: blocks with large depthwise kernels at one resolution, the second half joined to the first by skips."""

from __future__ import annotations

import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn
from torch.nn.functional import gelu, layer_norm

WIDENING = 3


class PixelNorm(nn.Module):
    """Layer norm over the channels of every pixel of [B,C,H,W]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """The same shape."""
        return layer_norm(x.movedim(1, -1), self.weight.shape, self.weight, self.bias).movedim(-1, 1)


class Block(nn.Module):
    """Depthwise 7x7, a shift by the noise level, a norm, two 3x3 convolutions with a GELU between, and a residual."""

    def __init__(self, channels_in: int, channels_out: int, embedding: int, *, normed: bool) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels_in, channels_in, 7, padding=3, groups=channels_in)
        self.shift = nn.Linear(embedding, channels_in)
        self.norm = PixelNorm(channels_in) if normed else nn.Identity()
        self.first = nn.Conv2d(channels_in, WIDENING * channels_out, 3, padding=1)
        self.second = nn.Conv2d(WIDENING * channels_out, channels_out, 3, padding=1)
        self.residual = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """x [B,Ci,H,W] and the embedded noise level [B,E] to [B,Co,H,W]."""
        inner = self.norm(self.depthwise(x) + self.shift(gelu(level))[:, :, None, None])
        out: Tensor = self.second(gelu(self.first(inner))) + self.residual(x)
        return out


class NextNet(nn.Module):
    """(x [B,C,H,W], noise level [B]) to [B,C,H,W], any height and width.

    `depth` blocks of `width` channels, 16 of 64 as published: 4,594,524 parameters for three channels. A pixel of the output depends on
    10 `depth` + 1 pixels of the input each way, 161 as published.
    """

    def __init__(self, channels: int = 1, depth: int = 16, width: int = 64) -> None:
        super().__init__()
        self.width = width
        self.level = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        half = depth // 2
        self.before = nn.ModuleList(Block(width if number else channels, width, width, normed=number > 0) for number in range(half))
        self.after = nn.ModuleList(Block(2 * width, width, width, normed=True) for _ in range(half))
        self.last = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """One evaluation; `time` counts noise levels, 0 the least noisy."""
        level = self.level(get_timestep_embedding(time, self.width, downscale_freq_shift=1).to(x))
        kept = []
        for block in self.before:
            x = block(x, level)
            kept.append(x)
        for block in self.after:
            # the first of these joins the last output with itself, as published
            x = block(torch.cat([x, kept.pop()], 1), level)
        out: Tensor = self.last(x)
        return out
