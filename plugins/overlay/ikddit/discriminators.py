"""L_D: the implicit discriminator that brings the student's tokens to those of the teacher, which sees the whole map.

Three readings of the published term. `selfdisc` compares both by their similarity to learned prototypes (Zhu et al. 2024, SD-DiT,
2403.17004); `cosine` brings a projection of one to the other (Yu et al. 2024, REPA, 2410.06940); `gan` is a discriminator as the name says.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cosine_similarity, normalize, softplus

Kind = Literal["selfdisc", "cosine", "gan"]
TEMPERATURE = 0.1
TEACHER_TEMPERATURES = (0.04, 0.07)
WARM = 0.1
"""Share of the training over which the teacher's temperature rises from the first to the second."""
CENTRE = 0.9
"""Momentum of the centre that is taken from the teacher's logits, against collapse (Caron et al. 2021, DINO, 2104.14294)."""


class Discriminator(nn.Module):
    """One reading of L_D: of tokens of the student [B,V,d], those of the teacher at the same places, and the teacher's own copy of it."""

    def forward(self, student: Tensor, teacher: Tensor, own: Discriminator, progress: float) -> tuple[Tensor, dict[str, float]]:
        """(the term, what to log); `progress` of the training from 0 to 1."""
        raise NotImplementedError


class SelfDiscrimination(Discriminator):
    """Cross entropy of the student's prototypes to the teacher's, which are sharpened and centred."""

    centre: Tensor

    def __init__(self, width: int, prototypes: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))
        self.prototypes = nn.Parameter(torch.randn(prototypes, width))
        self.register_buffer("centre", torch.zeros(prototypes))

    def logits(self, tokens: Tensor) -> Tensor:
        """Cosines to the prototypes [B,V,K], as parameters of weight norm with a gain of 1 would give them."""
        return normalize(self.project(tokens).float(), dim=-1) @ normalize(self.prototypes, dim=-1).T

    def forward(self, student: Tensor, teacher: Tensor, own: Discriminator, progress: float) -> tuple[Tensor, dict[str, float]]:
        """And the teacher's entropy as a share of the largest, and that of its mean over tokens: near 0 all tokens are one to it."""
        assert isinstance(own, SelfDiscrimination)
        low, high = TEACHER_TEMPERATURES
        with torch.no_grad():
            given = own.logits(teacher)
            target = torch.softmax((given - self.centre) / (low + (high - low) * min(1.0, progress / WARM)), -1)
            self.centre.lerp_(given.mean((0, 1)), 1 - CENTRE)
            entropy, usage = (share(one) for one in (target, target.mean((0, 1))))
        loss = -(target * torch.log_softmax(self.logits(student) / TEMPERATURE, -1)).sum(-1).mean()
        return loss, {"teacher_entropy": float(entropy), "prototypes_used": float(usage)}


def share(target: Tensor) -> Tensor:
    """Mean entropy of distributions [...,K], as a share of log K."""
    return -(target * target.clamp(min=1e-12).log()).sum(-1).mean() / math.log(target.shape[-1])


class Cosine(Discriminator):
    """1 - cosine of a projection of the student's token to the teacher's."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.project = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, student: Tensor, teacher: Tensor, own: Discriminator, progress: float) -> tuple[Tensor, dict[str, float]]:
        """The mean over tokens."""
        return 1 - cosine_similarity(self.project(student).float(), teacher.detach().float(), dim=-1).mean(), {}


class Adversary(Discriminator):
    """D(token) tells the teacher's tokens from the student's; the student is taught to pass for the teacher, D to tell (non-saturating).

    Both losses are taken at once: D learns from tokens that are held fixed, and the student from a D that is.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        first, second = (nn.utils.parametrizations.spectral_norm(nn.Linear(width, out)) for out in (width, 1))
        self.net = nn.Sequential(first, nn.GELU(), second)

    def forward(self, student: Tensor, teacher: Tensor, own: Discriminator, progress: float) -> tuple[Tensor, dict[str, float]]:
        """And how often D is right."""
        real, false = self.net(teacher.detach()).float(), self.net(student.detach()).float()
        fixed = {name: value.detach() for name, value in self.net.named_parameters()}
        passing = functional_call(self.net, fixed, (student,)).float()
        right = ((real > 0).float().mean() + (false < 0).float().mean()) / 2
        return softplus(-real).mean() + softplus(false).mean() + softplus(-passing).mean(), {"told_apart": float(right)}


def build(kind: Kind, width: int, prototypes: int) -> Discriminator:
    """The discriminator of that reading, for tokens of that width."""
    if kind == "selfdisc":
        return SelfDiscrimination(width, prototypes)
    return Cosine(width) if kind == "cosine" else Adversary(width)
