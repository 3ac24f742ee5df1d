"""Sampling: one pass through all stages, from a noise for each."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.one_shot import images_at_once, write_samples
from fabloom.plugins.blocks.pyramid import grown_sizes
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


def sample(ctx: Context, params: SampleParams, model: Model) -> ImageSet:
    """The task `sample`."""
    net, config = load(model, ctx.device), model.config
    trained = [(int(height), int(width)) for height, width in config["sizes"]]
    sizes, values = grown_sizes(trained, params.size), GreyMap(*config["values"])
    if min(min(size) for size in sizes) < 1:
        raise DataError(f"size: {params.size} leaves no pixel of the coarsest stage, which is {trained[0]} for {trained[-1]}")

    @torch.no_grad()
    def draw(numbers: range) -> NDArray[np.uint8]:
        sources = streams(ctx.seed, numbers)
        noises = [normal(sources, net.noise_shape(stage, size), ctx.device) for stage, size in enumerate(sizes)]
        return values.inverse(net(sizes, noises)).cpu().numpy()

    attrs: dict[str, Any] = {"sampler": "consingan", "model": model.key}
    return write_samples(ctx, params.count, images_at_once(params.batch, sizes[-1]), config["set_channels"], draw, attrs)
