"""Training on large crops of the image, and sampling."""

from __future__ import annotations

import torch
from torch import Tensor

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.single_scale import Diffusion, SingleScale, windows

from .network import NextNet
from .params import SampleParams, TrainParams

SCALE = SingleScale("sinfusion", NextNet)


def train(ctx: Context, params: TrainParams, images: ImageSet) -> Model:
    """The task `train`."""
    diffusion = Diffusion(params.times, "cosine", "sample", "fixed_small")

    def views(image: Tensor, draw: torch.Generator) -> Tensor:
        side = max(int(params.crop * min(image.shape[2:])), 1)
        side = side if params.window is None else min(side, params.window)
        return windows(image, side, side, params.batch, draw)

    return SCALE.train(ctx, params, images, diffusion, views, {"depth": params.depth, "width": params.width})


def sample(ctx: Context, params: SampleParams, model: Model) -> ImageSet:
    """The task `sample`."""
    return SCALE.sample(ctx, params, model)
