"""The student, which changes an image by what it adds, and the critic that compares changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from fabloom.kinds import Model
from fabloom.method import Context
from fabloom.params import Precision
from fabloom.plugins.blocks.denoisers import Denoiser, evaluate, load
from fabloom.plugins.blocks.domains.given import Given
from fabloom.plugins.blocks.domains.seeing import Seeing
from fabloom.plugins.blocks.domains.translator import NAMES
from fabloom.plugins.blocks.grey import GreyMap

ROLE = "kdcddm"


def still(net: Denoiser) -> None:
    """Set the last layer of a network to 0: a student begins as the identity, and learns what to change."""
    last = net.get_submodule("conv_out" if hasattr(net, "conv_out") else "final")
    for value in last.parameters():
        nn.init.zeros_(value)


def changed(net: nn.Module, z: Tensor, target: Tensor, given: Given) -> Tensor:
    """z [B,L,h,w] as it would be in the domains `target` [B], in one evaluation; what is given of it stays."""
    return given.put(z + evaluate(net, z, torch.zeros_like(target), target), z)


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
    """A `Translator` of one evaluation: `network` takes what it sees of images and the domains that are asked for."""

    network: Callable[[Tensor, Tensor], Tensor]
    seeing: Seeing
    grey: GreyMap
    given: Given

    draws = False

    @classmethod
    def of(cls, ctx: Context, model: Model, precision: Precision) -> Self:
        """That of a model of kdcddm.distill. Raises DataError for another."""
        net, given = load(model, ROLE, ctx.device), Given.of(model)
        network = ctx.autocast(precision)(lambda z, asked: changed(net, z, asked, given))
        return cls(network, Seeing.of(model, ctx.device), GreyMap(*model.config["grey"]), given)

    @property
    def hidden(self) -> tuple[int, int, int]:
        """Shape of what is changed; there is no noise of it."""
        return self.seeing.hidden

    @torch.no_grad()
    def translate(self, x: Tensor, source: int, targets: Sequence[int], fresh: Tensor | None = None) -> list[Tensor]:
        """One evaluation for each target; an image of domain `source` asked to stay in it is the image."""
        z = self.seeing.inner(x)

        def answer(target: int) -> Tensor:
            return z if target == source else self.network(z, torch.full((len(z),), target, device=z.device)).float()

        return [self.seeing.outer(answer(target)) for target in targets]
