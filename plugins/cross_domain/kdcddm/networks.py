"""The student, which changes an image by what it adds, and the critic that compares changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle
from torch.nn.utils.parametrizations import spectral_norm

from fabloom.kinds import Model
from fabloom.method import Context
from fabloom.plugins.blocks.codec import Codec
from fabloom.plugins.blocks.denoisers import Denoiser, evaluate, load
from fabloom.plugins.blocks.domains.translator import NAMES
from fabloom.plugins.blocks.grey import GreyMap

ROLE = "kdcddm"


def still(net: Denoiser) -> None:
    """Set the last layer of a network to 0: a student begins as the identity, and learns what to change."""
    last = net.get_submodule("conv_out" if hasattr(net, "conv_out") else "final")
    for value in last.parameters():
        nn.init.zeros_(value)


def changed(net: nn.Module, z: Tensor, target: Tensor) -> Tensor:
    """z [B,L,h,w] as it would be in the domains `target` [B], in one evaluation."""
    return z + evaluate(net, z, torch.zeros_like(target), target)


class Critic(nn.Module):
    """Judges (answer, image) patch by patch, by the domain that was asked for (Isola et al. 2017; Miyato & Koyama 2018)."""

    def __init__(self, channels: int, width: int, side: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inside, outside = 2 * channels, width
        for _ in range(3 if side >= 32 else 2):
            layers += [spectral_norm(nn.Conv2d(inside, outside, 4, 2, 1)), nn.LeakyReLU(0.2)]
            inside, outside = outside, min(2 * outside, 256)
        self.body = nn.Sequential(*layers)
        self.head = spectral_norm(nn.Conv2d(inside, 1, 3, 1, 1))
        self.domain = spectral_norm(nn.Embedding(len(NAMES), inside))

    def forward(self, answer: Tensor, z: Tensor, target: Tensor) -> Tensor:
        """Scores [B,1,h',w'], high for what the teacher would say."""
        seen = self.body(torch.cat([answer, z], 1))
        found: Tensor = self.head(seen) + (self.domain(target)[:, :, None, None] * seen).sum(1, keepdim=True)
        return found


@dataclass(frozen=True)
class Student:
    """A `Translator` of one evaluation."""

    net: Denoiser
    image: tuple[int, int, int]
    grey: GreyMap
    fold: int
    codec: Codec | None
    ctx: Context
    precision: str

    draws = False

    @classmethod
    def of(cls, ctx: Context, model: Model, precision: str) -> Self:
        """That of a model of kdcddm.distill. Raises DataError for another."""
        net, config = load(model, ROLE, ctx.device), model.config
        channels, height, width = config["image"]
        codec = Codec.inside(model, ctx.device)
        return cls(net, (channels, height, width), GreyMap(*config["grey"]), config["fold"], codec, ctx, precision)

    @property
    def hidden(self) -> tuple[int, int, int]:
        """Shape of what is changed; there is no noise of it."""
        if self.codec is not None:
            return self.codec.shape(self.image)
        channels, height, width = self.image
        return channels * self.fold**2, height // self.fold, width // self.fold

    @torch.no_grad()
    def translate(self, x: Tensor, source: int, targets: Sequence[int], fresh: Tensor | None = None) -> list[Tensor]:
        """One evaluation for each target; an image of domain `source` asked to stay in it is the image."""
        z = pixel_unshuffle(x, self.fold) if self.codec is None else self.codec.latent(x)
        answers = []
        for target in targets:
            asked = torch.full((len(z),), target, device=z.device)
            with self.ctx.autocast(self.precision):
                y = z if target == source else changed(self.net, z, asked)
            answers.append((pixel_shuffle(y, self.fold) if self.codec is None else self.codec.decode(y.float())).float().clamp(-1, 1))
        return answers
