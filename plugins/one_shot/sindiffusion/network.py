"""The network of SinDiffusion: a shallow U-Net without attention and without a middle, so that its receptive field is a patch."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.models.embeddings import get_timestep_embedding
from torch import Tensor, nn
from torch.nn.functional import interpolate, silu

GROUPS = 32


class Block(nn.Module):
    """Two 3x3 convolutions behind group norms, the second scaled and shifted by the noise level; the residual starts at zero."""

    def __init__(self, channels_in: int, channels_out: int, embedding: int) -> None:
        super().__init__()
        self.norm_in = nn.GroupNorm(GROUPS, channels_in)
        self.first = nn.Conv2d(channels_in, channels_out, 3, padding=1)
        self.modulate = nn.Linear(embedding, 2 * channels_out)
        self.norm = nn.GroupNorm(GROUPS, channels_out)
        self.second = zeroed(nn.Conv2d(channels_out, channels_out, 3, padding=1))
        self.skip = nn.Conv2d(channels_in, channels_out, 1) if channels_in != channels_out else nn.Identity()

    def forward(self, x: Tensor, level: Tensor) -> Tensor:
        """x [B,Ci,H,W] and the embedded noise level [B,E] to [B,Co,H,W]."""
        scale, shift = self.modulate(silu(level))[:, :, None, None].chunk(2, 1)
        inner = self.norm(self.first(silu(self.norm_in(x)))) * (1 + scale) + shift
        out: Tensor = self.skip(x) + self.second(silu(inner))
        return out


class PatchUNet(nn.Module):
    """(x [B,C,H,W], noise level [B]) to [B,C,H,W], any height and width.

    `base` times `mults` are the widths of the levels, each at half the size of the one before: 64 and (1, 2, 4) as published, 6,992,899
    parameters for three channels. Without its norms, whose statistics are of the whole image, a pixel of the output depends on 101 x 101
    of the input for three levels, and on 45 x 45 for two. Sides need not be even: a level has half the size of the one before, rounded up.
    """

    def __init__(self, channels: int = 1, base: int = 64, mults: Sequence[int] = (1, 2, 4)) -> None:
        super().__init__()
        self.base, embedding = base, 4 * base
        self.level = nn.Sequential(nn.Linear(base, embedding), nn.SiLU(), nn.Linear(embedding, embedding))
        self.first = nn.Conv2d(channels, base, 3, padding=1)
        widths = [base * mult for mult in mults]
        kept, width = [base], base
        self.down = nn.ModuleList()
        for number, wide in enumerate(widths):
            if number:
                self.down.append(nn.Conv2d(width, width, 3, stride=2, padding=1))
                kept.append(width)
            self.down.append(Block(width, wide, embedding))
            kept.append(wide)
            width = wide
        self.deepest = Block(kept.pop(), width, embedding)
        self.up = nn.ModuleList()
        for number, wide in reversed(list(enumerate(widths))):
            for _ in range(1 if number == len(widths) - 1 else 2):
                self.up.append(Block(width + kept.pop(), wide, embedding))
                width = wide
            if number:
                self.up.append(nn.Conv2d(wide, wide, 3, padding=1))
        self.norm = nn.GroupNorm(GROUPS, width)
        self.last = zeroed(nn.Conv2d(width, channels, 3, padding=1))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """One evaluation; `time` counts noise levels, 0 the least noisy."""
        level = self.level(get_timestep_embedding(time, self.base, flip_sin_to_cos=True, downscale_freq_shift=0).to(x))
        x = self.first(x)
        kept = [x]
        for part in self.down:
            x = part(x, level) if isinstance(part, Block) else part(x)
            kept.append(x)
        inner: Tensor = self.deepest(kept.pop(), level)
        for part in self.up:
            if isinstance(part, Block):
                inner = part(torch.cat([inner, kept.pop()], 1), level)
            else:
                # each pixel twice either way, and where the finer side is odd the last ones once
                inner = part(interpolate(inner, size=kept[-1].shape[-2:], mode="nearest"))
        out: Tensor = self.last(silu(self.norm(inner)))
        return out


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer with all weights 0."""
    for weight in layer.parameters():
        nn.init.zeros_(weight)
    return layer
