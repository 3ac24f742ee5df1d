"""Training an autoencoder: L1, edges and on request LPIPS, with a light pull of the posterior to the normal."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.optimization import get_scheduler
from torch import Tensor, nn
from torch.nn.functional import l1_loss

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.codec import ROLE, Codec
from fabloom.plugins.blocks.ema import ema
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.perceptual import Lpips
from fabloom.plugins.blocks.unet2d import config_of

from .params import TrainParams

LOG_EVERY = 10
STILL = 1e-6
"""Least deviation of a latent channel: one that says nothing is not blown up."""


def train(ctx: Context, params: TrainParams, images: ImageSet) -> Model:
    """The task `train`: the model holds the averaged weights, and mean and deviation of the latents of all images."""
    shape: tuple[int, int, int] = images.images.shape[1:]  # type: ignore[assignment]
    vae = build(params, shape).to(ctx.device)
    pixels = torch.from_numpy(np.asarray(images.images))
    grey = GreyMap.fit(pixels.numpy())
    vae.load_state_dict(fit(ctx, params, vae, grey.forward(pixels)))
    vae.eval().requires_grad_(False)
    mean, deviation = statistics(Codec(vae, *_standard(params, ctx.device), grey), pixels)
    config = {
        "role": ROLE, "vae": config_of(vae), "latent_mean": mean, "latent_deviation": deviation, "grey": [grey.low, grey.high],
        "image": list(shape),
    }  # fmt: skip
    return Model.write(ctx, {f"vae.{name}": value for name, value in vae.state_dict().items()}, config)


def build(params: TrainParams, image: tuple[int, int, int]) -> AutoencoderKL:
    """The network with random weights, for images [C,H,W]. Raises DataError where they do not fit."""
    levels, factor = len(params.channels), 2 ** (len(params.channels) - 1)
    if any(width % params.norm_groups for width in params.channels):
        raise DataError(f"norm_groups={params.norm_groups} must divide every width of channels {list(params.channels)}")
    if any(side % factor for side in image[1:]):
        raise DataError(f"images of {image[1]} x {image[2]} do not divide by {factor} ({levels} levels): crop them, or give fewer channels")
    if params.crop is not None and params.crop % factor:
        raise DataError(f"crop={params.crop} does not divide by {factor} ({levels} levels): take {params.crop - params.crop % factor}")
    return AutoencoderKL(
        in_channels=image[0],
        out_channels=image[0],
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        block_out_channels=params.channels,
        layers_per_block=params.layers,
        latent_channels=params.latent_channels,
        norm_num_groups=params.norm_groups,
        sample_size=image[1],
    )


def fit(ctx: Context, params: TrainParams, vae: AutoencoderKL, pixels: Tensor) -> dict[str, Any]:
    """The loop; returns the averaged weights."""
    average = ema(vae, params.ema_decay)
    optimizer = torch.optim.AdamW(vae.parameters(), lr=params.lr, weight_decay=0.0)
    warmup = min(params.warmup, params.steps // 2)
    rate = get_scheduler("cosine", optimizer, num_warmup_steps=warmup, num_training_steps=params.steps)
    seen = Lpips.load(params.lpips_net, ctx.device) if params.lpips_weight else None
    draw, forward = ctx.generator("batches"), ctx.autocast(params.precision)(through)
    vae.train()
    for step in ctx.loop(params.steps, net=vae, average=average, optimizer=optimizer, rate=rate):
        x = windows(pixels, params.batch, params.crop, draw).to(ctx.device)
        noise = torch.randn((len(x), params.latent_channels, *_latent(vae, x)), generator=draw).to(ctx.device)
        found, divergence = forward(vae, x, noise)
        parts = {"l1": l1_loss(found, x), "edges": edges(found, x)}
        loss = parts["l1"] + params.edge_weight * parts["edges"] + params.kl_weight * divergence
        if seen is not None:
            parts["lpips"] = seen(found, x).mean()
            loss = loss + params.lpips_weight * parts["lpips"]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(vae.parameters(), params.grad_clip)
        optimizer.step()
        rate.step()
        average.update_parameters(vae)
        if step.index % LOG_EVERY == 0:
            step.log(divergence=float(divergence.detach()), **{name: float(value.detach()) for name, value in parts.items()})
    state: dict[str, Any] = average.module.state_dict()
    return state


def through(vae: AutoencoderKL, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
    """What is decoded of a draw of the posterior [B,C,H,W], and the mean divergence of a latent value from the standard normal."""
    posterior = vae.encode(x).latent_dist
    divergence: Tensor = posterior.kl().mean() / noise[0].numel()  # that of diffusers is a sum over the values of an image
    return vae.decode(posterior.mean + posterior.std * noise).sample.float(), divergence.float()


def windows(pixels: Tensor, count: int, crop: int | None, draw: torch.Generator) -> Tensor:
    """`count` images [N,C,H,W] drawn with replacement, or windows of `crop` pixels of those that are larger."""
    rows = torch.randint(len(pixels), (count,), generator=draw)
    tall, wide = (min(side, crop or side) for side in pixels.shape[2:])
    tops = torch.randint(pixels.shape[2] - tall + 1, (count,), generator=draw).tolist()
    lefts = torch.randint(pixels.shape[3] - wide + 1, (count,), generator=draw).tolist()
    cut = [pixels[row, :, top : top + tall, left : left + wide] for row, top, left in zip(rows.tolist(), tops, lefts, strict=True)]
    return torch.stack(cut)


def edges(a: Tensor, b: Tensor) -> Tensor:
    """Mean absolute difference of the differences of neighbouring pixels, down and across."""
    return sum((l1_loss(a.diff(dim=axis), b.diff(dim=axis)) for axis in (-1, -2)), a.new_zeros(()))


def statistics(codec: Codec, pixels: Tensor) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel of the latents of images [N,C,H,W]."""
    latents = codec.encode(pixels).double()
    return latents.mean((0, 2, 3)).tolist(), latents.std((0, 2, 3)).clamp(min=STILL).tolist()


def _standard(params: TrainParams, device: torch.device) -> tuple[Tensor, Tensor]:
    ones = torch.ones(params.latent_channels, device=device)
    return torch.zeros_like(ones), ones


def _latent(vae: AutoencoderKL, x: Tensor) -> tuple[int, int]:
    factor = 2 ** (len(vae.config["block_out_channels"]) - 1)
    return x.shape[2] // factor, x.shape[3] // factor
