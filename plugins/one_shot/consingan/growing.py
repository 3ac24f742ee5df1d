"""The generator that grows: one network, in which features and not images go from a stage to the next."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from math import ceil, log
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from fabloom.plugins.blocks.conv_stack import conv_layers, conv_stack
from fabloom.plugins.blocks.pyramid import Size

SLOPE = 0.05
LAYERS = 3
"""Convolutions of a body."""


def stage_sizes(size: Size, coarsest: int, stages: int) -> list[Size]:
    """(height, width) of every stage, coarsest first: more stages at low resolution than a geometric row has; the last one is `size`.

    Stage i of K + 1 is r^e_i of the size with r = (coarsest / short)^(1/K) and e_i = (K-1) / ln K * ln(K-i) + 1 for i < K, rounded up
    (Hinz et al. 2021, section 3.2).
    """
    last = stages - 1
    ratio = (coarsest / min(size)) ** (1 / last)
    shrinks = [ratio ** ((last - 1) / log(last) * log(last - stage) + 1) for stage in range(last)]
    # a product that is whole but for round-off is not rounded up
    return [(ceil(size[0] * shrink - 1e-6), ceil(size[1] * shrink - 1e-6)) for shrink in shrinks] + [size]


def geometric_sizes(size: Size, coarsest: int, stages: int) -> list[Size]:
    """(height, width) of every stage of a generator that alters images, coarsest first: r^(K-i) of `size`, rounded up."""
    ratio = (coarsest / min(size)) ** (1 / (stages - 1))
    shrinks = [ratio ** (stages - 1 - stage) for stage in range(stages)]
    return [(ceil(size[0] * shrink - 1e-6), ceil(size[1] * shrink - 1e-6)) for shrink in shrinks]


def up(features: Tensor, size: Size) -> Tensor:
    """Features [B,C,h,w] in another size, corners on corners, as published."""
    return interpolate(features, size, mode="bicubic", align_corners=True)


def wider(size: Size, by: int) -> Size:
    """A size with so many pixels more either way."""
    return size[0] + by, size[1] + by


class Growing(nn.Module):
    """head, bodies of three valid convolutions, tail (Hinz et al. 2021, figure 4).

    f_0 = body_0(pad_2(up(head(z_0), s_0 + 2))), f_k = body_k(up(f_(k-1), s_k + 6) + a_k z_k) + up(f_(k-1), s_k), image = tanh(tail(f)).
    Features are enlarged instead of padded with zeros, so that what comes at the borders varies as well. Where `padded`, as published for
    generators that alter images, they are padded all the same: f_0 = body_0(pad_3(head(z_0))), f_k = body_k(pad_3(u + a_k z_k)) + u with
    u = up(f_(k-1), s_k).
    """

    amplitudes: Tensor

    def __init__(self, channels: int, width: int, stages: int = 1, *, padded: bool = False) -> None:
        super().__init__()
        self.channels, self.width, self.padded = channels, width, padded
        self.head = conv_layers([channels, width], SLOPE)
        self.bodies = nn.ModuleList(conv_layers([width] * (LAYERS + 1), SLOPE) for _ in range(stages))
        self.tail = conv_stack(width, width, channels, SLOPE, depth=1, bounded=True)
        self.register_buffer("amplitudes", torch.ones(stages))

    @classmethod
    def of(cls, shape: dict[str, Any]) -> Self:
        """From `shape`, as a model keeps it."""
        return cls(shape["channels"], shape["width"], shape["stages"], padded=shape.get("padded", False))

    @property
    def shape(self) -> dict[str, int]:
        """What `of` builds it from."""
        return {"channels": self.channels, "width": self.width, "stages": len(self.bodies), **({"padded": True} if self.padded else {})}

    def grow(self) -> None:
        """One more stage, whose body starts as a copy of the last one."""
        self.bodies.append(deepcopy(self.bodies[-1]).requires_grad_(True))
        self.amplitudes = torch.cat([self.amplitudes, self.amplitudes.new_zeros(1)])

    def noise_shape(self, stage: int, size: Size) -> tuple[int, int, int]:
        """[C,h,w] of the noise of a stage of this size: of the image at the first, of features after it, with a border of three pixels
        where nothing is padded.
        """  # fmt: skip
        return (self.channels, *size) if stage == 0 else (self.width, *(size if self.padded else wider(size, 2 * LAYERS)))

    def features(self, stage: int, size: Size, before: Tensor | None, noise: Tensor) -> Tensor:
        """f_k [B,width,h,w] of a stage of this size, from the features before it, or from noise alone."""
        body = self.bodies[stage]
        if before is None:
            first = self.head(pad(noise, [1] * 4))
            made: Tensor = body(pad(first, [LAYERS] * 4) if self.padded else pad(up(first, wider(size, 2)), [2] * 4))
            return made
        base, noise = up(before, size), self.amplitudes[stage] * noise
        given = pad(base + noise, [LAYERS] * 4) if self.padded else up(before, wider(size, 2 * LAYERS)) + noise
        found: Tensor = body(given) + base
        return found

    def image(self, features: Tensor) -> Tensor:
        """The image [B,C,h,w] of features [B,width,h,w], -1 to 1."""
        made: Tensor = self.tail(pad(features, [1] * 4))
        return made

    def through(self, sizes: Sequence[Size], noises: Sequence[Tensor], start: int = 0, features: Tensor | None = None) -> Tensor:
        """Features after the stages of `sizes`, from stage `start` on, with a noise for each of these."""
        for stage, noise in enumerate(noises, start):
            features = self.features(stage, sizes[stage], features, noise)
        assert features is not None
        return features

    def forward(self, sizes: Sequence[Size], noises: Sequence[Tensor]) -> Tensor:
        """Images [B,C,h,w] of the last of `sizes`."""
        return self.image(self.through(sizes, noises))
