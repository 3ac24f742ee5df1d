"""Sampling: images of any size from the coarsest scale up, or composites repaired at the finest one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.anchor import Anchor, context_channels, followed, output_size, shown, zooms_of
from fabloom.plugins.blocks.composites import Composites
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.noise import Prediction
from fabloom.plugins.blocks.one_shot import images_at_once, write_samples
from fabloom.plugins.blocks.pyramid import Pyramid, Size, resize
from fabloom.plugins.blocks.scale_network import ScaleNetwork
from fabloom.plugins.blocks.scale_params import steps_by_size
from fabloom.plugins.blocks.streams import normal, streams

from . import levels, schedule
from .guidance import Regions
from .params import STEPS, SampleParams
from .reverse import Noise, Reverse, visited
from .schedule import Blur


@dataclass(frozen=True)
class Trained:
    """A trained network with everything that says how to read it."""

    net: nn.Module
    blur: Blur
    prediction: Prediction
    pyramid: Pyramid
    values: GreyMap
    ratio: float
    levels: Sequence[int]
    device: torch.device
    arithmetic: AbstractContextManager[object] = field(default_factory=nullcontext)
    quantise: bool = False

    @classmethod
    def load(cls, model: Model, device: torch.device) -> Trained:
        """From the model of `sinddm.train`. Raises DataError for another model."""
        config = model.config
        if config.get("role") != "sinddm":
            raise DataError(f"model {model.key[:12]} is no model of sinddm.train (role '{config.get('role')}')")
        net = ScaleNetwork(config["channels"], config["width"], context_channels(config))
        net.load_state_dict(model.state("net."))
        net.eval().requires_grad_(False)
        sizes = [(int(height), int(width)) for height, width in config["sizes"]]
        values = GreyMap(*config["values"])
        pyramid = levels.build(model.state("image")[""].numpy(), sizes, values, quantise=config["quantise"])
        blur = Blur(schedule.noise_schedule(), config["limits"])
        ratio = grown_by(sizes, config["ratio"])
        made = cls(net.to(device), blur, config["prediction"], pyramid, values, ratio, config["levels"], device)
        return replace(made, quantise=config["quantise"])


def grown_by(sizes: Sequence[Size], ratio: float) -> float:
    """The ratio of neighbouring scales; `ratio` where there is one scale."""
    return float((min(sizes[-1]) / min(sizes[0])) ** (1 / (len(sizes) - 1))) if len(sizes) > 1 else ratio


@dataclass(frozen=True)
class Shape:
    """Sizes of all scales of the output, and how many finest pixels of the training image a pixel of each spans."""

    sizes: Sequence[Size]
    zooms: Sequence[tuple[float, float]]

    @classmethod
    def plan(cls, trained: Trained, size: Size | None, extra: int) -> Shape:
        """Every scale is the trained one's size times output over finest, truncated; further scales go on by the ratio."""
        known = trained.pyramid.sizes
        further = [trained.ratio**level for level in range(1, extra + 1)]
        exact = [(float(h), float(w)) for h, w in known] + [(known[-1][0] * grown, known[-1][1] * grown) for grown in further]
        down, across = (1.0, 1.0) if size is None else (size[0] / exact[-1][0], size[1] / exact[-1][1])
        # a product that is whole but for round-off is not truncated to the pixel below
        sizes = [(max(int(h * down + 1e-6), 1), max(int(w * across + 1e-6), 1)) for h, w in exact]
        return cls(sizes, zooms_of(known) + [(1 / grown, 1 / grown) for grown in further])


@dataclass(frozen=True)
class Sampler:
    """Goes through the scales; further ones than the trained are treated as the finest."""

    trained: Trained
    params: SampleParams
    shape: Shape
    contexts: Sequence[Tensor | None]
    starts: Sequence[int]
    steps: Sequence[int]
    regions: Regions

    @property
    def sizes(self) -> Sequence[Size]:
        """(height, width) of every scale of the output."""
        return self.shape.sizes

    def following(self, anchor: Anchor) -> Sampler:
        """The same, anchored to other clean images."""
        shrunk = partial(levels.shrunk, values=self.trained.values, quantise=self.trained.quantise)
        contexts = anchor.contexts(self.shape.zooms, self.sizes, shrunk)
        return replace(self, contexts=[context if context is None else context.to(self.trained.device) for context in contexts])

    def of(self, anchor: Anchor, numbers: range) -> Sampler:
        """The sampler of the samples of these numbers, which take the anchor's clean images in turn."""
        own = anchor.numbered(numbers)
        return self if own is anchor else self.following(own)

    @torch.no_grad()
    def generate(self, sources: Sequence[torch.Generator]) -> Tensor:
        """Images [B,C,H,W] in [-1, 1], one from each generator."""
        shape = (self.trained.pyramid.images[0].shape[1], *self.sizes[0])
        x = normal(sources, shape, self.trained.device)
        process = self.reverse(0)
        run = visited(self.starts[0], self.steps[0])
        x = process.descend(x, None, run, 0, self.noise(sources, x), lambda t, to: self.params.eta**2 * process.posterior(t, to))
        for scale in range(1, len(self.sizes)):
            x = self.refine(resize(x, self.sizes[scale]), scale, sources)
        return x

    def refine(self, base: Tensor, scale: int, sources: Sequence[torch.Generator]) -> Tensor:
        """One finer scale, from the upsampled result of the one before."""
        if self.starts[scale] == 0:
            return base
        noise = self.noise(sources, base)
        x = self.noised(base, self.starts[scale], noise)
        run = visited(self.starts[scale], self.steps[scale])
        return self.reverse(scale).descend(x, base, run, min(scale, self.trained_scales - 1), noise, self.fresh)

    @torch.no_grad()
    def repair(self, images: Tensor, sources: Sequence[torch.Generator]) -> Tensor:
        """Images [B,C,H,W] in [-1, 1] with noise of `composite_start` levels put on and taken away at the finest scale, no blur."""
        scale = self.trained_scales - 1
        sharp = Blur(self.trained.blur.noise, [None] * self.trained_scales)
        noise = self.noise(sources, images)
        x = self.noised(images, self.params.composite_start, noise)
        run = visited(self.params.composite_start, self.steps[scale])
        return self.reverse(scale, sharp).descend(x, images, run, scale, noise, self.fresh)

    def fresh(self, t: int, to: int) -> float:
        """Variance of fresh noise at the finer scales."""
        return self.params.omega * float(self.trained.blur.noise.sigma[to]) ** 2

    @property
    def trained_scales(self) -> int:
        """How many scales the network knows."""
        return len(self.trained.pyramid.images)

    def noised(self, images: Tensor, start: int, noise: Noise) -> Tensor:
        """Images with the noise of level start - 1, or of `start` as in the released code."""
        level = min(start, len(self.trained.blur.noise) - 1) if self.params.start_noise == "above" else start - 1
        return self.trained.blur.noise.add_noise(images, noise(), torch.tensor([level]))

    def noise(self, sources: Sequence[torch.Generator], like: Tensor) -> Noise:
        """Noise of the shape of `like`, every image's from its own generator."""
        return lambda: normal(sources, tuple(like.shape[1:]), like.device)

    def reverse(self, scale: int, blur: Blur | None = None) -> Reverse:
        """The reverse process of one scale of the output."""

        def evaluate(x: Tensor, t: int, which: int) -> Tensor:
            return self.evaluate(x, t, which, self.contexts[scale])

        return Reverse(blur or self.trained.blur, self.trained.prediction, evaluate, self.regions, self.params.order)

    def evaluate(self, x: Tensor, t: int, scale: int, context: Tensor | None) -> Tensor:
        """The network's output for x_t = `x`."""
        time, which = (torch.full((len(x),), value, device=x.device) for value in (t, scale))
        with self.trained.arithmetic:
            out: Tensor = self.trained.net(x, time, which, context)
        return out.float()


def sample(ctx: Context, params: SampleParams, model: Model, composite: ImageSet | None, reference: ImageSet | None) -> ImageSet:
    """The task `sample`."""
    trained = Trained.load(model, ctx.device)
    trained = replace(trained, arithmetic=ctx.autocast(params.precision))
    anchor = followed(model, Anchor.of_model(model), reference, params.count)
    if anchor.clean is not None:
        if params.extra_scales:
            raise DataError("extra_scales goes beyond the finest scale, where the clean image that anchors the structure has no detail")
        size = output_size(model, anchor, params.size if composite is None else trained.pyramid.sizes[-1])
        params = params.model_copy(update={"size": size})
    sampler = make_sampler(trained, params, anchor)
    config, wanted = model.config, sampler.sizes[-1]
    at_once, references = images_at_once(params.batch, wanted), shown(anchor, params.count, wanted, config["set_channels"])
    attrs: dict[str, Any] = {"method": "sinddm", "steps": list(sampler.steps), "starts": list(sampler.starts)}
    if composite is None:

        def draw(numbers: range) -> NDArray[np.uint8]:
            return trained.values.inverse(sampler.of(anchor, numbers).generate(streams(ctx.seed, numbers))).cpu().numpy()

        return write_samples(ctx, params.count, at_once, config["set_channels"], draw, attrs, references)
    check_level(trained, len(trained.levels) - 1, params.composite_start, "composite_start")
    composites = Composites.read(composite, trained.pyramid.sizes[-1], config["channels"], params.composite_margin)

    def mend(numbers: range) -> NDArray[np.uint8]:
        given = trained.values.forward(composites.rows(numbers)[0]).to(ctx.device)
        return composites.blended(trained.values.inverse(sampler.of(anchor, numbers).repair(given, streams(ctx.seed, numbers))), numbers)

    attrs |= {"composite_start": params.composite_start}
    return write_samples(ctx, params.count, at_once, config["set_channels"], mend, attrs, references)


def check_level(trained: Trained, scale: int, start: int, name: str) -> None:
    """Raises DataError for a start above the noise that the network was trained on at that scale."""
    known = trained.levels[min(scale, len(trained.levels) - 1)]
    if start > known:
        why = f"{name}: scale {scale} was trained on {known} noise levels and cannot start at {start}"
        raise DataError(f"{why}; start lower, or train with `levels: all`")


def make_sampler(trained: Trained, params: SampleParams, anchor: Anchor) -> Sampler:
    """A sampler for the wanted size. Raises DataError for steps, starts or regions that do not fit the model."""
    shape = Shape.plan(trained, params.size, params.extra_scales)
    count, known = len(shape.sizes), len(trained.pyramid.images)
    starts = [trained.blur.start(min(scale, known - 1)) for scale in range(count)]
    if params.start is not None:
        if len(params.start) != count - 1:
            raise DataError(
                f"start names {len(params.start)} levels but there are {count - 1} scales above the coarsest; give one for each"
            )
        starts[1:] = params.start
        for scale, start in enumerate(starts):
            check_level(trained, scale, start, "start")
    wanted = steps_by_size(STEPS, shape.sizes) if params.steps is None else params.steps
    steps = (wanted,) * count if isinstance(wanted, int) else wanted
    if len(steps) != count:
        raise DataError(f"steps names {len(steps)} numbers but there are {count} scales; give one number, or one for each scale")
    regions = Regions.build(params.regions, params.region_strength, trained.pyramid, shape.sizes[:known])
    fewest = [min(number, start) for number, start in zip(steps, starts, strict=True)]
    made = Sampler(trained, params, shape, [None] * count, starts, fewest, regions)
    return made.following(anchor.numbered(range(1)))
