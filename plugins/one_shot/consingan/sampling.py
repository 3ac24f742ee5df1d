"""Sampling: one pass through all stages, from a noise for each, or from composites and noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.adversarial import KERNEL
from fabloom.plugins.blocks.composites import Composites
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.one_shot import images_at_once, write_samples
from fabloom.plugins.blocks.pyramid import Size, grown_sizes, resize
from fabloom.plugins.blocks.streams import normal, streams

from .growing import Growing
from .params import SampleParams


def load(model: Model, device: torch.device) -> Growing:
    """The generator of a model. Raises DataError for the model of another method."""
    config = model.config
    if config.get("role") != "consingan":
        raise DataError(f"model {model.key[:12]} is no model of consingan.train (role '{config.get('role')}')")
    net = Growing.of(config["net"])
    net.load_state_dict(model.state("net."))
    return net.to(device).eval().requires_grad_(False)


def trained_sizes(model: Model) -> list[Size]:
    """(height, width) of every stage of a model."""
    return [(int(height), int(width)) for height, width in model.config["sizes"]]


def sample(ctx: Context, params: SampleParams, model: Model, composite: ImageSet | None) -> ImageSet:
    """The task `sample`."""
    net, config = load(model, ctx.device), model.config
    trained, values = trained_sizes(model), GreyMap(*config["values"])
    attrs: dict[str, Any] = {"sampler": "consingan", "model": model.key}

    @torch.no_grad()
    def made(numbers: range, sizes: Sequence[Size], entering: Tensor | None = None) -> Tensor:
        sources = streams(ctx.seed, numbers)
        noises = [normal(sources, net.noise_shape(stage, size), ctx.device) for stage, size in enumerate(sizes)]
        return values.inverse(net(sizes, noises if entering is None else [entering, *noises[1:]]))

    if composite is None:
        if config.get("goal", "generate") != "generate":
            raise DataError(f"model {model.key[:12]} was trained to {config['goal']}: connect the images to alter as `composite`")
        sizes = grown_sizes(trained, params.size)
        if min(min(size) for size in sizes) < 1:
            raise DataError(f"size: {params.size} leaves no pixel of the coarsest stage, which is {trained[0]} for {trained[-1]}")
        at_once = images_at_once(params.batch, sizes[-1])
        return write_samples(ctx, params.count, at_once, config["set_channels"], lambda numbers: made(numbers, sizes).cpu().numpy(), attrs)

    if params.start >= len(trained):
        raise DataError(f"start: the model has the stages 0 to {len(trained) - 1}, not {params.start}")
    composites = Composites.read(composite, trained[-1], config["channels"], params.margin)
    # stages that are smaller work on the composite in the size in which it enters
    entered = [max(size, trained[params.start]) for size in trained]

    def mend(numbers: range) -> NDArray[np.uint8]:
        given = values.forward(composites.rows(numbers)[0]).to(ctx.device)
        return composites.blended(made(numbers, entered, resize(given, entered[0], KERNEL)), numbers)

    attrs |= {"start": params.start}
    return write_samples(ctx, params.count, images_at_once(params.batch, trained[-1]), config["set_channels"], mend, attrs)
