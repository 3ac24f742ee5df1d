"""Training: scale after scale, each on top of those before, which are finished."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.adversarial import Make, Scale, Shrunk, play
from fabloom.plugins.blocks.conv_stack import conv_stack
from fabloom.plugins.blocks.pyramid import Size

from .chain import SLOPE, Chain, grown, scale_sizes, width_at
from .params import TrainParams


def train(ctx: Context, params: TrainParams, images: ImageSet) -> Model:
    """The task `train`."""
    shrunk = Shrunk.of(ctx, params, images, partial(scale_sizes, ratio=params.ratio, coarsest=params.coarsest))
    trained = fit(ctx, params, shrunk)
    tensors = {f"chain.{name}": value for name, value in trained.chain.state_dict().items()}
    return Model.write(ctx, {**tensors, "twin": trained.twin}, {**shrunk.config("singan"), "chain": trained.chain.shape})


@dataclass(frozen=True)
class Trained:
    """The generators and the noise that gives the image back."""

    chain: Chain
    twin: Tensor


def fit(ctx: Context, params: TrainParams, shrunk: Shrunk) -> Trained:
    """All scales, coarsest first."""
    channels, count = shrunk.images[0].shape[1], len(shrunk.images)
    # the starting weights come from the global generator, which the engine seeds
    chain = Chain(channels, params.width, count, growing=params.growing, norm=params.norm == "batch").to(ctx.device)
    source = ctx.generator("noise")
    course = Course(ctx, params, chain, shrunk, normal(source, 1, shrunk.sizes[0], 1).to(ctx.device), source)
    critic: nn.Module | None = None
    for scale in range(count):
        critic = course.learn(scale, critic)
    return Trained(chain, course.twin)


def normal(source: torch.Generator, channels: int, size: Size, count: int) -> Tensor:
    """Standard normal noise [count,channels,height,width]."""
    return torch.randn(count, channels, *size, generator=source)


@dataclass(frozen=True)
class Course:
    """What the training of all scales has in common."""

    ctx: Context
    params: TrainParams
    chain: Chain
    shrunk: Shrunk
    twin: Tensor
    source: torch.Generator

    def learn(self, scale: int, before: nn.Module | None) -> nn.Module:
        """Train one scale, from the weights of the scale before where it is as wide; returns its critic."""
        chain, params, real = self.chain, self.params, self.shrunk.images[scale]
        net, width = chain.nets[scale], self.width(scale)
        critic = conv_stack(real.shape[1], width, 1, SLOPE, norm=params.norm == "batch").to(self.ctx.device)
        if before is not None and width == self.width(scale - 1):
            net.load_state_dict(chain.nets[scale - 1].state_dict())
            critic.load_state_dict(before.state_dict())
        chain.eval()
        base = self.base(scale)
        with torch.no_grad():
            chain.amplitudes[scale] = params.noise * (base - real).square().mean().sqrt() if scale else 1.0
        pool = self.bases(scale, params.inputs) if params.inputs and scale else None
        net.train()

        def draw() -> Make:
            given = self.bases(scale, 1) if pool is None else pool[torch.randint(len(pool), (1,), generator=self.source)]
            noise = self.noise(1, chain.noise_channels(scale), self.shrunk.sizes[scale])
            return lambda: chain.at(scale, given, noise)

        def rebuild() -> Tensor:
            return chain.at(scale, base, None if scale else self.twin_of_now())

        groups = [{"params": list(net.parameters())}]
        play(self.ctx, params, f"scale_{scale}", Scale(real, critic, net, groups, draw, rebuild, fresh=True))
        net.requires_grad_(False)
        net.eval()
        if params.norm == "batch":
            trained, sampled = self.rebuilt_errors(scale)
            told = f"{trained:.3f} of its deviation with the statistics of the image itself, {sampled:.3f} with those that samples have"
            self.ctx.log(f"scale {scale}: the image comes back to {told}")
        return critic

    @torch.no_grad()
    def rebuilt_errors(self, scale: int) -> tuple[float, float]:
        """Errors of the image as a finished scale gives it back, over its deviation: batch norms as in training, and as in samples."""
        real, base, noise = self.shrunk.images[scale], self.base(scale), None if scale else self.twin
        errors = []
        for training in (True, False):
            chain = deepcopy(self.chain)  # batch norms that train change what they keep
            chain.nets[scale].train(training)
            errors.append(float((chain.at(scale, base, noise) - real).square().mean().sqrt() / real.std()))
        return errors[0], errors[1]

    def width(self, scale: int) -> int:
        """Channels of the layers of a scale."""
        return width_at(scale, self.params.width, growing=self.params.growing)

    def noise(self, count: int, channels: int, size: Size) -> Tensor:
        """Standard normal noise of the next draw."""
        return normal(self.source, channels, size, count).to(self.ctx.device)

    def twin_of_now(self) -> Tensor:
        """The noise that shall give the image: one, or as in the released code another each time, which teaches that all noise gives it."""
        return self.twin if self.params.twin == "fixed" else self.noise(1, 1, self.shrunk.sizes[0])

    @torch.no_grad()
    def base(self, scale: int) -> Tensor:
        """The image [1,C,h,w] as the finished scales give it back, in the size of this one; black at the coarsest."""
        if scale == 0:
            return torch.zeros_like(self.shrunk.images[0])
        return grown(self.chain.rebuilt(self.shrunk.sizes[:scale], self.twin), self.shrunk.sizes[scale])

    @torch.no_grad()
    def bases(self, scale: int, count: int) -> Tensor:
        """What the finished scales make [count,C,h,w] of new noise, in the size of this one; black at the coarsest."""
        sizes = self.shrunk.sizes
        black = torch.zeros(count, self.shrunk.images[0].shape[1], *sizes[0], device=self.ctx.device)
        return grown(self.chain.draw(sizes[:scale], partial(self.noise, count), black), sizes[scale])
