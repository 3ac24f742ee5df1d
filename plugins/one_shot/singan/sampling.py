"""Sampling: the generators one after the other, from noise, from the rebuilt image, or from composites."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.composites import Composites
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.one_shot import images_at_once, write_samples
from fabloom.plugins.blocks.pyramid import Size, grown_sizes
from fabloom.plugins.blocks.streams import normal, streams

from .chain import Chain, grown
from .params import SampleParams


@dataclass(frozen=True)
class Trained:
    """The generators with what says how to read them."""

    chain: Chain
    twin: Tensor
    sizes: list[Size]
    values: GreyMap

    @classmethod
    def load(cls, model: Model, device: torch.device) -> Self:
        """From the model of `singan.train`. Raises DataError for another model."""
        config = model.config
        if config.get("role") != "singan":
            raise DataError(f"model {model.key[:12]} is no model of singan.train (role '{config.get('role')}')")
        chain = Chain.of(config["chain"])
        chain.load_state_dict(model.state("chain."))
        sizes = [(int(height), int(width)) for height, width in config["sizes"]]
        return cls(chain.to(device).eval().requires_grad_(False), model.state("twin")[""].to(device), sizes, GreyMap(*config["values"]))

    def start(self, start: int) -> Tensor:
        """Where generation starts [1,C,h,w]: black, or the image as the scales below `start` give it back."""
        if start:
            return self.chain.rebuilt(self.sizes[:start], self.twin)
        return torch.zeros(1, int(self.chain.shape["channels"]), *self.sizes[0], device=self.twin.device)


def sample(ctx: Context, params: SampleParams, model: Model, composite: ImageSet | None) -> ImageSet:
    """The task `sample`."""
    trained, config = Trained.load(model, ctx.device), model.config
    if params.start >= len(trained.sizes):
        raise DataError(f"start: the model has the scales 0 to {len(trained.sizes) - 1}, not {params.start}")
    sizes = grown_sizes(trained.sizes, params.size)
    if min(min(size) for size in sizes) < 1:
        raise DataError(f"size: {params.size} leaves no pixel of the coarsest scale, which is {trained.sizes[0]} for {trained.sizes[-1]}")
    canvas = trained.start(params.start)

    def made(numbers: range, canvas: Tensor) -> Tensor:
        sources = streams(ctx.seed, numbers)
        return trained.chain.draw(sizes, lambda channels, size: normal(sources, (channels, *size), ctx.device), canvas, params.start)

    def draw(numbers: range) -> NDArray[np.uint8]:
        return trained.values.inverse(made(numbers, canvas)).cpu().numpy()

    attrs: dict[str, Any] = {"sampler": "singan", "model": model.key, "start": params.start}
    at_once = images_at_once(params.batch, sizes[-1])
    if composite is None:
        return write_samples(ctx, params.count, at_once, config["set_channels"], draw, attrs)
    if params.start == 0:
        raise DataError("start: composites enter at scale 1 or a finer one; at 0 nothing would be seen of them")
    composites = Composites.read(composite, trained.sizes[-1], config["channels"], params.margin)

    def mend(numbers: range) -> NDArray[np.uint8]:
        entering = grown(trained.values.forward(composites.rows(numbers)[0]).to(ctx.device), trained.sizes[params.start - 1])
        return composites.blended(trained.values.inverse(made(numbers, entering)), numbers)

    return write_samples(ctx, params.count, at_once, config["set_channels"], mend, attrs)
