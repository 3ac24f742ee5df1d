"""Training on rescaled views of the image, and sampling."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.single_scale import Denoise, Diffusion, SingleScale, windows

from .network import PatchUNet
from .params import SampleParams, TrainParams

SCALE = SingleScale("sindiffusion", PatchUNet)
MULTIPLE, PADDED = 4, 8
"""Sides of stretched views are multiples of the one as published, those of padded states of the other as released."""


def train(ctx: Context, params: TrainParams, images: ImageSet) -> Model:
    """The task `train`."""
    diffusion = Diffusion(params.times, "linear", params.prediction, "fixed_large")

    def views(image: Tensor, draw: torch.Generator) -> Tensor:
        whole = stretched(image, params.rescale, draw)
        return windows(whole, params.window or whole.shape[2], params.window or whole.shape[3], params.batch, draw)

    return SCALE.train(ctx, params, images, diffusion, views, {"base": params.base, "mults": params.mults})


def sample(ctx: Context, params: SampleParams, model: Model) -> ImageSet:
    """The task `sample`."""
    return SCALE.sample(ctx, params, model, padded if params.padding == "zeros" else lambda denoise: denoise)


def padded(denoise: Denoise) -> Denoise:
    """The same with zeros to the right and below where sides are no multiples of 8, and cut off again."""

    def call(x: Tensor, t: Tensor) -> Tensor:
        height, width = x.shape[2:]
        return denoise(pad(x, [0, -width % PADDED, 0, -height % PADDED]), t)[:, :, :height, :width]

    return call


def stretched(image: Tensor, most: float, draw: torch.Generator) -> Tensor:
    """The image [1,C,H,W] with height and width times factors of 1 - `most` to 1 + `most`, down to multiples of 4.

    Not low-passed, as published. 0 leaves it as it is.
    """
    if most == 0:
        return image
    factors = 1 + most * (2 * torch.rand(2, generator=draw) - 1)
    size = [int(side * factor) // MULTIPLE * MULTIPLE for side, factor in zip(image.shape[2:], factors.tolist(), strict=True)]
    return interpolate(image, size, mode="bicubic", align_corners=False)
