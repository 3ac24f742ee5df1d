"""Sampling: from noise at the coarsest scale, and from the upsampled result of the scale before at every other."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.anchor import Anchor, context_channels, followed, output_size, shown, zooms_of
from fabloom.plugins.blocks.one_shot import images_at_once, pick, write_samples
from fabloom.plugins.blocks.pyramid import Size, resize
from fabloom.plugins.blocks.scale_network import ScaleNetwork
from fabloom.plugins.blocks.scale_params import steps_by_size
from fabloom.plugins.blocks.streams import normal, streams

from . import levels
from .bridge import Bridge, Prediction
from .guidance import Guide
from .levels import Levels
from .params import FINER, STEPS, SampleParams
from .solvers import Ode, Paper, Sde, Solver, advance

MARGIN = 0.05
"""Share of the image's range by which a predicted clean image may leave it in the samplers `sde` and `ode`."""


@dataclass(frozen=True)
class Trained:
    """A trained network with everything that says how to read it."""

    net: nn.Module
    bridge: Bridge
    prediction: Prediction
    time_unit: float
    scales: Levels
    device: torch.device
    arithmetic: AbstractContextManager[object] = field(default_factory=nullcontext)

    @classmethod
    def load(cls, model: Model, device: torch.device) -> Trained:
        """From the model of `sinsemi.train`. Raises DataError for another model."""
        config = model.config
        if config.get("role") != "sinsemi":
            raise DataError(f"model {model.key[:12]} is no model of sinsemi.train (role '{config.get('role')}')")
        net = ScaleNetwork(config["channels"], config["width"], context_channels(config))
        net.load_state_dict(model.state("net."))
        sizes = [(int(height), int(width)) for height, width in config["sizes"]]
        pixels = model.state("image")[""].numpy()
        scales = levels.build(pixels, sizes, normalise=config["normalise"], quantise=config["quantise"])
        net.eval().requires_grad_(False)
        return cls(net.to(device), Bridge(config["sigma"]), config["prediction"], config["time_unit"], scales, device)

    def evaluate(self, x: Tensor, t: float, scale: int, context: Tensor | None) -> Tensor:
        """The network's output at x_t = `x`."""
        time = torch.full((len(x),), self.time_unit * t, device=x.device)
        with self.arithmetic:
            out: Tensor = self.net(x, time, torch.full((len(x),), scale, device=x.device), context)
        return out.float()


@dataclass(frozen=True)
class Sampler:
    """How to go down from t = 1 to t = 0 at one scale."""

    trained: Trained
    params: SampleParams
    sizes: Sequence[Size]
    contexts: Sequence[Tensor | None]
    steps: Sequence[int]
    guide: Guide | None

    @torch.no_grad()
    def generate(self, sources: Sequence[torch.Generator]) -> Tensor:
        """Images [B,C,H,W] in the network's units, one from each generator."""
        channels = self.trained.scales.images[0].shape[1]
        x = normal(sources, (channels, *self.sizes[0]), self.trained.device)
        for scale, size in enumerate(self.sizes):
            x = self.descend(resize(x, size), scale, sources)
        return x

    def descend(self, x: Tensor, scale: int, sources: Sequence[torch.Generator]) -> Tensor:
        """All steps of one scale; at scales >= 1 the state that it starts from is the degraded end x1."""
        solver = self.solver(x if scale else None)
        for step, (t, to) in enumerate(pairwise(solver.times(self.steps[scale]).to(x.device))):
            out = self.trained.evaluate(x, float(t), scale, self.contexts[scale])
            clean = self.clean(out, x, t, solver.x1)
            mean, deviation = advance(solver, self.trained.prediction, out, clean, (x, t, to))
            if self.guide is not None:
                # strength is measured by the flow's step, which goes where the model goes without the noise of `sde`
                move = mean - x if isinstance(solver, Paper) else self.trained.bridge.flow(clean, x, t, to, solver.x1) - x
                mean = mean + self.guide.nudge(x, clean, move, float(t), scale, step)
            x = mean + deviation * normal(sources, tuple(x.shape[1:]), x.device) if float(deviation) > 0 else mean
        return x

    def solver(self, x1: Tensor | None) -> Solver:
        """A new solver for one scale."""
        bridge = self.trained.bridge
        if self.params.sampler == "paper":
            return Paper(bridge, x1, self.params.sigma)
        return Ode(bridge, x1) if self.params.sampler == "ode" else Sde(bridge, x1)

    def clean(self, out: Tensor, x: Tensor, t: Tensor, x1: Tensor | None) -> Tensor:
        """The clean image behind the state; the samplers `sde` and `ode` keep it near the range of the training image."""
        clean = self.trained.bridge.clean(self.trained.prediction, out, x, t, x1)
        if self.params.sampler == "paper":
            return clean
        low, high = self.trained.scales.value_range()
        margin = MARGIN * (high - low)
        return clean.clamp(low - margin, high + margin)


def sample(ctx: Context, params: SampleParams, model: Model, reference: ImageSet | None) -> ImageSet:
    """The task `sample`."""
    trained = Trained.load(model, ctx.device)
    trained = replace(trained, arithmetic=ctx.autocast(params.precision))
    trained_sizes = trained.scales.sizes
    finest = trained_sizes[-1]
    anchor = Anchor.of_model(model)
    if reference is not None and (anchor.clean is not None or params.guidance.strength == 0):
        anchor = followed(model, anchor, reference, params.count)
    wanted = output_size(model, anchor, params.size)
    sizes = [(max(round(h * wanted[0] / finest[0]), 1), max(round(w * wanted[1] / finest[1]), 1)) for h, w in trained_sizes]
    steps = steps_of(params.steps, sizes)
    guide = make_guide(ctx, params, trained, model, sizes, reference)

    def contexts_of(anchor: Anchor) -> list[Tensor | None]:
        shrunk = partial(levels.shrunk, normalise=model.config["normalise"], quantise=model.config["quantise"], like=trained.scales)
        contexts = anchor.contexts(zooms_of(trained_sizes), sizes, shrunk)
        return [None if context is None else context.to(ctx.device) for context in contexts]

    sampler = Sampler(trained, params, sizes, contexts_of(anchor.numbered(range(1))), steps, guide)

    def draw(numbers: range) -> NDArray[np.uint8]:
        own = anchor.numbered(numbers)
        turn = sampler if own is anchor else replace(sampler, contexts=contexts_of(own))
        grey = turn.generate(streams(ctx.seed, numbers)) * trained.scales.deviation + trained.scales.mean
        pixels: NDArray[np.uint8] = (grey * levels.LEVELS).round().clamp(0, levels.LEVELS).to(torch.uint8).cpu().numpy()
        return pixels

    attrs = {"method": "sinsemi", "sampler": params.sampler, "steps": list(steps), "guidance": params.guidance.strength}
    channels, at_once = model.config["set_channels"], images_at_once(params.batch, wanted)
    return write_samples(ctx, params.count, at_once, channels, draw, attrs, shown(anchor, params.count, wanted, channels))


def steps_of(given: int | tuple[int, ...] | None, sizes: Sequence[Size]) -> tuple[int, ...]:
    """Steps of every scale. Raises DataError where their number is not that of the scales."""
    if given is None:
        return steps_by_size(STEPS, sizes[:1]) + steps_by_size(FINER, sizes[1:])
    if isinstance(given, int):
        return (given,) * len(sizes)
    if len(given) != len(sizes):
        raise DataError(f"steps names {len(given)} numbers but the model has {len(sizes)} scales; give one number, or one for each scale")
    return given


def make_guide(
    ctx: Context, params: SampleParams, trained: Trained, model: Model, sizes: Sequence[Size], reference: ImageSet | None
) -> Guide | None:
    """The guide, or None without strength. Raises DataError for a reference that is missing or does not fit."""
    if params.guidance.strength == 0:
        return None
    scales = trained.scales if reference is None else reference_levels(trained, model, sizes[-1], reference, sizes)
    (height, width), wanted = scales.sizes[-1], sizes[-1]
    if (height, width) != wanted:
        raise DataError(
            f"guidance compares with the training image of {height} x {width}, but the output is {wanted[0]} x {wanted[1]}; "
            "connect a `reference` of the output's size, or set guidance.strength to 0"
        )
    from fabloom.plugins.blocks.perceptual import Lpips

    noise = params.sigma if params.sampler == "paper" else trained.bridge.sigma
    return Guide(params.guidance, Lpips.load(params.guidance.net, ctx.device), scales, Bridge(noise), ctx.seed)


def reference_levels(trained: Trained, model: Model, size: Size, reference: ImageSet, sizes: Sequence[Size]) -> Levels:
    """The levels of the reference image, in the units of the training image. Raises DataError where it does not fit."""
    pixels = pick(reference, None).pixels
    if pixels.shape[1:] != size:
        raise DataError(f"the reference is {pixels.shape[1]} x {pixels.shape[2]} but the output {size[0]} x {size[1]}; both need one size")
    config = model.config
    if len(pixels) != config["channels"]:
        raise DataError(f"the reference has {len(pixels)} channels, the training image {config['channels']}")
    return levels.build(pixels, sizes, normalise=config["normalise"], quantise=config["quantise"], like=trained.scales)
