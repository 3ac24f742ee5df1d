"""The generators of all scales, each of which adds what the one before cannot show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil, log
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from fabloom.plugins.blocks.adversarial import KERNEL
from fabloom.plugins.blocks.conv_stack import DEPTH, conv_stack
from fabloom.plugins.blocks.pyramid import Size, coarse_to_fine, resize

SLOPE = 0.2
WIDEST = 128
EPSILON = 1e-9
"""A product that is whole but for round-off is not rounded up."""
Noise = Callable[[int, Size], Tensor]
"""(channels, (height, width)) to standard normal noise [B,channels,height,width]."""


def scale_sizes(size: Size, ratio: float, coarsest: int) -> list[Size]:
    """(height, width) of every scale, coarsest first: sides rounded up, the last one is `size`.

    N = ceil(log(coarsest / short) / log(ratio)) + 1 scales stand above the coarsest, and the ratio that is used is adjusted so that the
    short side of that is `coarsest` (Shaham et al. 2019, supplement).
    """
    short = min(size)
    count = ceil(log(coarsest / short) / log(ratio) - EPSILON) + 1
    step = (coarsest / short) ** (1 / count)
    return [(ceil(size[0] * step**n - EPSILON), ceil(size[1] * step**n - EPSILON)) for n in reversed(range(count + 1))]


def width_at(scale: int, width: int, *, growing: bool) -> int:
    """Channels of the layers of a scale."""
    return min(width * 2 ** (scale // 4), max(WIDEST, width)) if growing else width


class Chain(nn.Module):
    """Generators, coarsest first: x_n = tanh-net(a_n z_n + y_n) + y_n with y_n the upsampled x_(n-1), y_0 = 0 (Shaham et al. 2019).

    A border of zeros of 5 pixels stands around noise and image, so that five valid convolutions keep the size.
    """

    amplitudes: Tensor

    def __init__(self, channels: int, width: int, scales: int, *, growing: bool, norm: bool) -> None:
        super().__init__()
        self.shape = {"channels": channels, "width": width, "scales": scales, "growing": growing, "norm": norm}
        widths = [width_at(scale, width, growing=growing) for scale in range(scales)]
        self.nets = nn.ModuleList(conv_stack(channels, width, channels, SLOPE, norm=norm, bounded=True) for width in widths)
        self.register_buffer("amplitudes", torch.zeros(scales))

    @classmethod
    def of(cls, shape: dict[str, Any]) -> Self:
        """From `shape`, as a model keeps it."""
        return cls(shape["channels"], shape["width"], shape["scales"], growing=shape["growing"], norm=shape["norm"])

    def at(self, scale: int, base: Tensor, noise: Tensor | None) -> Tensor:
        """The image [B,C,h,w] of one scale, from a base [B,C,h,w] and noise of that shape, of one channel, or none."""
        given = base if noise is None else self.amplitudes[scale] * noise + base
        made: Tensor = self.nets[scale](pad(given, [DEPTH] * 4)) + base
        return made

    def draw(self, sizes: Sequence[Size], noise: Noise, canvas: Tensor, start: int = 0) -> Tensor:
        """Images through all scales of `sizes` from `start` on, from a canvas [B,C,h,w], which is black, or comes from the one before."""

        def step(number: int, base: Tensor) -> Tensor:
            scale = start + number
            return self.at(scale, base, noise(self.noise_channels(scale), sizes[scale]))

        return coarse_to_fine(canvas, sizes[start:], step, KERNEL)

    def noise_channels(self, scale: int) -> int:
        """Channels of the noise of a scale: all channels of the coarsest share one."""
        return int(self.shape["channels"]) if scale else 1

    def rebuilt(self, sizes: Sequence[Size], twin: Tensor) -> Tensor:
        """The training image [1,C,h,w] as the scales of `sizes` give it back, from its twin, the noise of the coarsest, and no other."""
        canvas = torch.zeros(1, self.shape["channels"], *sizes[0], device=twin.device)
        return coarse_to_fine(canvas, sizes, lambda scale, base: self.at(scale, base, None if scale else twin), KERNEL)


def grown(canvas: Tensor, size: Size) -> Tensor:
    """The canvas [B,C,h,w] in the size of the next scale."""
    return resize(canvas, size, KERNEL)
