"""Training an average velocity."""

from __future__ import annotations

from math import prod
from typing import Any

import torch
from diffusers.optimization import get_scheduler
from torch import Tensor, nn

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.codec import Codec
from fabloom.plugins.blocks.denoisers import build, kept
from fabloom.plugins.blocks.ema import ema
from fabloom.plugins.blocks.operations import OPERATIONS, counted
from fabloom.plugins.blocks.pool import Pool

from .flow import errors, times, weighted
from .networks import ROLE, forward_differentiable, velocity
from .params import TrainParams

LOG_EVERY = 10


def train(ctx: Context, params: TrainParams, images: ImageSet, autoencoder: Model | None) -> Model:
    """The task `train`: the model holds the averaged weights."""
    pool = Pool.of(images, params.flip_x, params.flip_y, None if autoencoder is None else Codec.of(autoencoder, ctx.device))
    unet = build(params, params.network, pool.shape, second_time=True)
    forward_differentiable(unet)
    weights, operations = fit(ctx, params, unet.to(ctx.device), pool)
    state, network = kept(unet, weights)
    tensors, told = pool.kept()
    config = {
        "role": ROLE,
        **network,
        "time_unit": params.time_unit,
        "image": list(images.images.shape[1:]),
        **told,
        OPERATIONS: operations,
    }
    return Model.write(ctx, state | tensors, config)


def draw_batch(params: TrainParams, pool: Pool, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """(x, noise, r, t): images, and times of which `instant` are equal; all from the CPU stream."""
    x, _ = pool.batch(params.batch, draw)
    r, t = times(len(x), round(params.instant * len(x)), params.time_mean, params.time_deviation, draw)
    return x, torch.randn(x.shape, generator=draw), r, t


def fit(ctx: Context, params: TrainParams, unet: nn.Module, pool: Pool) -> tuple[dict[str, Any], int]:
    """The loop; returns the averaged weights, and the multiply-adds that all steps take."""
    average = ema(unet, params.ema_decay)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=params.lr, weight_decay=params.weight_decay)
    course = "cosine" if params.decay == "cosine" else "constant_with_warmup"
    warmup = min(params.warmup, params.steps // 2)
    rate = get_scheduler(course, optimizer, num_warmup_steps=warmup, num_training_steps=params.steps)
    draw, network = ctx.generator("batches"), velocity(unet, params.time_unit)
    unet.train()

    def errors_of(draw: torch.Generator) -> Tensor:
        error = errors(network, *(part.to(ctx.device) for part in draw_batch(params, pool, draw)))
        weighted(error, params.power).backward()
        return error.detach()

    _, operations = counted(lambda: errors_of(ctx.generator("counted")))
    for step in ctx.loop(params.steps, net=unet, average=average, optimizer=optimizer, rate=rate):
        optimizer.zero_grad(set_to_none=True)
        error = errors_of(draw)
        nn.utils.clip_grad_norm_(unet.parameters(), params.grad_clip)
        optimizer.step()
        rate.step()
        average.update_parameters(unet)
        if step.index % LOG_EVERY == 0:
            step.log(error=float(error.mean()) / prod(pool.shape))
    return average.module.state_dict(), operations * params.steps
