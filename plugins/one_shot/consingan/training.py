"""Training: stage after stage, the newest bodies together, the older ones as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.adversarial import Make, Scale, Shrunk, play
from fabloom.plugins.blocks.conv_stack import conv_stack

from .altering import ALTERED
from .growing import SLOPE, Growing, geometric_sizes, stage_sizes
from .params import TrainParams


def train(ctx: Context, params: TrainParams, images: ImageSet) -> Model:
    """The task `train`."""
    sizing = stage_sizes if params.goal == "generate" else geometric_sizes
    shrunk = Shrunk.of(ctx, params, images, partial(sizing, coarsest=params.coarsest, stages=params.stages))
    net = fit(ctx, params, shrunk).net
    tensors = {f"net.{name}": value for name, value in net.state_dict().items()}
    return Model.write(ctx, tensors, {**shrunk.config("consingan"), "net": net.shape, "goal": params.goal})


def fit(ctx: Context, params: TrainParams, shrunk: Shrunk) -> Course:
    """All stages, coarsest first."""
    channels = shrunk.images[0].shape[1]
    # the starting weights come from the global generator, which the engine seeds
    net = Growing(channels, params.width, padded=params.goal != "generate").to(ctx.device)
    critic = conv_stack(channels, params.width, 1, SLOPE).to(ctx.device)
    source = ctx.generator("noise")
    # the image itself and one draw of every other noise shall give the image
    later = [normal(source, net.noise_shape(stage, size), 1) for stage, size in enumerate(shrunk.sizes) if stage]
    course = Course(ctx, params, net, critic, shrunk, [shrunk.images[0], *(noise.to(ctx.device) for noise in later)], source)
    for stage in range(len(shrunk.images)):
        course.learn(stage)
    return course


def normal(source: torch.Generator, shape: tuple[int, int, int], count: int) -> Tensor:
    """Standard normal noise [count,*shape]."""
    return torch.randn(count, *shape, generator=source)


def learning(net: Growing, params: TrainParams) -> list[dict[str, Any]]:
    """Weights that learn at the newest stage, with their rates: lr_scale^d for the body d before the newest, lr_scale^stage for the head
    while it learns. What does not learn is frozen.
    """  # fmt: skip
    stage = len(net.bodies) - 1
    parts: list[tuple[nn.Module, float]] = [(net.tail, 1.0)]
    net.zero_grad(set_to_none=True)
    for number, body in enumerate(net.bodies):
        body.requires_grad_(stage - number < params.depth)
        if stage - number < params.depth:
            parts.append((body, params.lr_scale ** (stage - number)))
    net.head.requires_grad_(stage < params.depth)
    if stage < params.depth:
        parts.append((net.head, params.lr_scale**stage))
    return [{"params": list(part.parameters()), "lr": params.lr * rate} for part, rate in parts]


@dataclass(frozen=True)
class Course:
    """What the training of all stages has in common; `twin` are the noises that shall give the image."""

    ctx: Context
    params: TrainParams
    net: Growing
    critic: nn.Module
    shrunk: Shrunk
    twin: Sequence[Tensor]
    source: torch.Generator

    def learn(self, stage: int) -> None:
        """Train one stage."""
        net, sizes, real = self.net, self.shrunk.sizes[: stage + 1], self.shrunk.images[stage]
        if stage:
            net.grow()
            net.amplitudes[stage] = self.params.noise * self.apart(stage)
        groups = learning(net, self.params)
        still = max(stage + 1 - self.params.depth, 0)
        """Stages that nothing changes any more."""
        with torch.no_grad():
            twin = net.through(sizes, self.twin[:still]) if still else None
            pool = net.through(sizes, self.noises(0, still, self.params.inputs)) if still and self.params.inputs else None

        def draw() -> Make:
            with torch.no_grad():
                if pool is not None:
                    given: Tensor | None = pool[torch.randint(len(pool), (1,), generator=self.source)]
                else:
                    given = net.through(sizes, self.noises(0, still, 1)) if still else None
            noises = self.noises(still, stage + 1, 1)
            return lambda: net.image(net.through(sizes, noises, still, given))

        def rebuild() -> Tensor:
            return net.image(net.through(sizes, self.twin[still : stage + 1], still, twin))

        play(self.ctx, self.params, f"stage_{stage}", Scale(real, self.critic, net, groups, draw, rebuild, fresh=False))

    def noises(self, start: int, stop: int, count: int) -> list[Tensor]:
        """What the stages from `start` to before `stop` are given [count,C,h,w]: standard normal noise, or first altered images."""
        return [self.given(stage, count).to(self.ctx.device) for stage in range(start, stop)]

    def given(self, stage: int, count: int) -> Tensor:
        """What one stage is given."""
        alter = ALTERED.get(self.params.goal)
        if stage or alter is None:
            return normal(self.source, self.net.noise_shape(stage, self.shrunk.sizes[stage]), count)
        return torch.cat([alter(self.shrunk.images[0], self.source) for _ in range(count)])

    @torch.no_grad()
    def apart(self, stage: int) -> Tensor:
        """Root mean squared error of the image that a new stage gives back before it has learnt, and without its noise."""
        made: Tensor = self.net(self.shrunk.sizes[: stage + 1], self.twin[: stage + 1])
        return (made - self.shrunk.images[stage]).square().mean().sqrt()
