"""One scale of a single-image GAN: a critic of patches and a generator, in turn (Shaham et al. 2019, Hinz et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import MultiStepLR

from fabloom.errors import DataError
from fabloom.kinds import ImageSet
from fabloom.method import Context

from .adversarial_params import AdversarialTraining
from .anchor import fitting
from .grey import GreyMap
from .one_shot import Picture, pick
from .pyramid import Kernel, Size, resize
from .wgan_gp import between, critic_loss, generator_loss, gradient_penalty

KERNEL: Kernel = "bicubic"
BETAS = (0.5, 0.999)
LOG_EVERY = 10
FALL_AT, FALL_TO = 0.8, 0.1
"""After so large a share of a scale's iterations the learning rates fall to so much, as published."""
Make = Callable[[], Tensor]
"""An image [1,C,h,w] of the generator as it is now, from a noise that was drawn before."""


@dataclass(frozen=True)
class Shrunk:
    """The training image, how its grey levels are mapped, and itself [1,C,h,w] at every scale, coarsest first."""

    picture: Picture
    values: GreyMap
    images: Sequence[Tensor]

    @property
    def sizes(self) -> list[Size]:
        """(height, width) of every scale."""
        return [(int(image.shape[2]), int(image.shape[3])) for image in self.images]

    @classmethod
    def of(cls, ctx: Context, params: AdversarialTraining, images: ImageSet, sizing: Callable[[Size], list[Size]]) -> Shrunk:
        """From the one image of a set. Raises DataError for a set that leaves a choice, a constant image, and one that is too small."""
        picture = pick(images, params.image)
        size, shrinks = fitting(picture, params.max_pixels)
        if min(size) < params.coarsest:
            raise DataError(f"an image of {size[0]} x {size[1]} is smaller than the coarsest scale: `coarsest` is {params.coarsest}")
        # a margin, since the tanh of a generator reaches -1 and 1 nowhere
        values = GreyMap.fit(picture.pixels) if params.stretch else GreyMap(0.0, 255.0)
        whole = values.forward(picture.pixels)[None].to(ctx.device)
        found = sizing(size)
        ctx.log(f"{shrinks}scales {', '.join(f'{h}x{w}' for h, w in found)}")
        return cls(picture, values, [resize(whole, one, KERNEL) for one in found])

    def config(self, role: str) -> dict[str, Any]:
        """What a model keeps of it."""
        return {
            "role": role,
            "channels": len(self.picture.pixels),
            "set_channels": self.picture.channels,
            "sizes": [list(size) for size in self.sizes],
            "values": [self.values.low, self.values.high],
        }


@dataclass(frozen=True)
class Scale:
    """What is played for: the image [1,C,h,w] at one scale.

    `draw` draws a noise and gives what makes an image of it, `rebuild` makes the one that shall be the image. `groups` are the weights
    that learn, as an optimizer takes them. Where not `fresh`, all steps of an iteration share one noise, and those of the generator one
    gradient, as in ConSinGAN; else, as in SinGAN, the critic sees another noise in every step, the generator another gradient.
    """

    real: Tensor
    critic: nn.Module
    generator: nn.Module
    groups: Sequence[Mapping[str, Any]]
    draw: Callable[[], Make]
    rebuild: Make
    fresh: bool


def play(ctx: Context, params: AdversarialTraining, name: str, scale: Scale) -> None:
    """Train critic and generator of one scale, in a loop of this name."""
    ours = torch.optim.Adam([dict(group) for group in scale.groups], lr=params.lr, betas=BETAS)
    theirs = torch.optim.Adam(scale.critic.parameters(), lr=params.lr, betas=BETAS)
    rates = [MultiStepLR(optimizer, [round(FALL_AT * params.iterations)], FALL_TO) for optimizer in (ours, theirs)]
    shares = ctx.generator("shares")
    state: dict[str, Any] = {"generator": scale.generator, "critic": scale.critic, "ours": ours, "theirs": theirs}
    for step in ctx.loop(params.iterations, name=name, **state, our_rate=rates[0], their_rate=rates[1]):
        make, fake = drawn(scale)
        for turn in range(params.critic_steps):
            if turn and scale.fresh:
                make, fake = drawn(scale)
            points = between(scale.real, fake, torch.rand((), generator=shares).to(fake))
            theirs.zero_grad(set_to_none=True)
            lead = critic_loss(scale.critic, scale.real, fake)
            (lead + params.penalty * gradient_penalty(scale.critic, points)).backward()
            theirs.step()
        scale.critic.requires_grad_(False)  # only its gradient by the image is wanted: a third less arithmetic
        for turn in range(params.generator_steps):
            if turn == 0 or scale.fresh:
                ours.zero_grad(set_to_none=True)
                rebuilt = scale.rebuild()
                generator_loss(scale.critic, make(), rebuilt, scale.real, params.rebuild).backward()
            ours.step()
        scale.critic.requires_grad_(True)
        for rate in rates:
            rate.step()
        if step.index % LOG_EVERY == 0:
            error = (rebuilt.detach() - scale.real).square().mean().sqrt() / scale.real.std()
            step.log(**{f"{name}_lead": -float(lead.detach()), f"{name}_rebuilt": float(error)})


def drawn(scale: Scale) -> tuple[Make, Tensor]:
    """What makes an image of a noise, and the image, without gradient, for the critic."""
    make = scale.draw()
    with torch.no_grad():
        return make, make()
