"""Stacks of valid 3 x 3 convolutions: the networks of SinGAN and ConSinGAN, which see 11 x 11 pixels.

Nothing is padded inside, so that only what stands outside a stack (the zeros around a generator's input) tells it where the borders are.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

DEPTH = 5
"""Convolutions of a whole network."""
SPREAD = 0.02
"""Standard deviation of the starting weights."""


def conv_layers(widths: Sequence[int], slope: float, *, norm: bool = False) -> nn.Sequential:
    """Convolution, batch norm if wanted, and leaky ReLU for each pair of neighbouring widths: [B,first,H,W] to [B,last,H-2n,W-2n]."""
    layers: list[nn.Module] = []
    for channels_in, channels_out in pairwise(widths):
        layers += [nn.Conv2d(channels_in, channels_out, 3), *([nn.BatchNorm2d(channels_out)] if norm else []), nn.LeakyReLU(slope, True)]
    return started(nn.Sequential(*layers))


def conv_stack(
    channels_in: int, width: int, channels_out: int, slope: float, *, depth: int = DEPTH, norm: bool = False, bounded: bool = False
) -> nn.Sequential:
    """A network of `depth` convolutions, [B,Ci,H,W] to [B,Co,H-2d,W-2d]: layers of `width` and a last one, in -1..1 if `bounded`."""
    inner = [channels_in, *[width] * (depth - 1)]
    tail = started(nn.Sequential(nn.Conv2d(inner[-1], channels_out, 3), *([nn.Tanh()] if bounded else [])))
    return nn.Sequential(*conv_layers(inner, slope, norm=norm), *tail)


def started(stack: nn.Sequential) -> nn.Sequential:
    """The stack with its starting weights: normal around 0, those of batch norms around 1."""
    for part in stack:
        if isinstance(part, nn.Conv2d):
            nn.init.normal_(part.weight, 0.0, SPREAD)
        elif isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.weight, 1.0, SPREAD)
    return stack
