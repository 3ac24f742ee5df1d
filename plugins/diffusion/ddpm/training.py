"""Training a diffusion model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers.optimization import get_scheduler
from torch import Tensor, nn

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.backbone import TIMES
from fabloom.plugins.blocks.codec import Codec
from fabloom.plugins.blocks.denoisers import build, evaluate, kept
from fabloom.plugins.blocks.ema import ema
from fabloom.plugins.blocks.noise import BETA_SCHEDULES, NoiseSchedule, noise_schedule, target
from fabloom.plugins.blocks.operations import OPERATIONS, counted
from fabloom.plugins.blocks.pool import Pool

from .diffusion import loss_weights
from .params import TrainParams

LOG_EVERY = 10


@dataclass(frozen=True)
class Batch:
    """Clean images [B,C,H,W] in [-1, 1], their noise, times [B], and class numbers [B] or None."""

    x0: Tensor
    noise: Tensor
    t: Tensor
    labels: Tensor | None

    def split(self, size: int) -> Iterator[Batch]:
        """Pieces of at most `size` images."""
        for start in range(0, len(self.x0), size):
            part = slice(start, start + size)
            yield Batch(self.x0[part], self.noise[part], self.t[part], None if self.labels is None else self.labels[part])

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(*(None if v is None else v.to(device) for v in (self.x0, self.noise, self.t, self.labels)))  # type: ignore[arg-type]


def train(ctx: Context, params: TrainParams, images: ImageSet, autoencoder: Model | None) -> Model:
    """The task `train`: the model holds the averaged weights."""
    labels, names = class_numbers(params, images)
    codec = None if autoencoder is None else Codec.of(autoencoder, ctx.device)
    pool = Pool.of(images, params.flip_x, params.flip_y, codec)
    unet = build(params, params.network, pool.shape, len(names)).to(ctx.device)
    name = BETA_SCHEDULES[params.schedule]
    schedule = noise_schedule(name, params.beta_start, params.beta_end)
    weights, operations = fit(ctx, params, unet, pool, labels, len(names), schedule)
    state, network = kept(unet, weights)
    config = {
        "role": "ddpm",
        **network,
        "prediction_type": params.prediction,
        "schedule": name,
        "beta_start": params.beta_start,
        "beta_end": params.beta_end,
        "num_train_timesteps": TIMES,
        "image": list(images.images.shape[1:]),
        "classes": names,
        "class_source": params.classes,
        OPERATIONS: operations,
    }
    tensors, told = pool.kept()
    return Model.write(ctx, state | tensors, config | told)


def class_numbers(params: TrainParams, images: ImageSet) -> tuple[Tensor | None, list[str]]:
    """Class of every image [N] and the names; (None, []) without conditioning. Raises DataError where the set has none."""
    if params.classes == "none":
        return None, []
    column = images.labels if params.classes == "labels" else images.domain
    if column is None:
        raise DataError(f"classes={params.classes}, but training set {images.key[:12]} has no {params.classes}; use classes=none")
    names = images.class_names if params.classes == "labels" else ["clean", "defect"]
    return torch.from_numpy(np.asarray(column)).long(), names


def draw_batch(params: TrainParams, pool: Pool, labels: Tensor | None, null: int, draw: torch.Generator) -> Batch:
    """A batch; all draws come from the CPU stream."""
    x0, rows = pool.batch(params.batch, draw)
    picked = None
    if labels is not None:
        hidden = torch.rand(len(x0), generator=draw) < params.label_dropout
        picked = torch.where(hidden, null, labels[rows])
    t = torch.randint(TIMES, (len(x0),), generator=draw)
    return Batch(x0, torch.randn(x0.shape, generator=draw), t, picked)


def batch_loss(params: TrainParams, unet: Callable[..., Any], schedule: NoiseSchedule, weights: Tensor, batch: Batch) -> Tensor:
    """Mean over the batch of the weighted squared error."""
    x = schedule.add_noise(batch.x0, batch.noise, batch.t)
    out = evaluate(unet, x, batch.t, batch.labels)
    error = (out - target(schedule, params.prediction, batch.x0, batch.noise, batch.t)).square().flatten(1).mean(1)
    return (weights[batch.t] * error).mean()


def accumulate(params: TrainParams, unet: Callable[..., Any], schedule: NoiseSchedule, weights: Tensor, batch: Batch) -> Tensor:
    """Add the gradient of the whole batch's loss, in pieces of `micro_batch` images; returns that loss."""
    total, count = torch.zeros((), device=batch.x0.device), len(batch.x0)
    for part in batch.split(params.micro_batch or count):
        loss = batch_loss(params, unet, schedule, weights, part) * (len(part.x0) / count)
        loss.backward()
        total += loss.detach()
    return total


def fit(
    ctx: Context, params: TrainParams, unet: nn.Module, pool: Pool, labels: Tensor | None, null: int, schedule: NoiseSchedule
) -> tuple[dict[str, Any], int]:
    """The loop; returns the averaged weights, and the multiply-adds that all steps take."""
    average = ema(unet, params.ema_decay)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=params.lr, weight_decay=params.weight_decay)
    course = "cosine" if params.decay == "cosine" else "constant_with_warmup"
    warmup = min(params.warmup, params.steps // 2)
    rate = get_scheduler(course, optimizer, num_warmup_steps=warmup, num_training_steps=params.steps)
    weights = loss_weights(schedule, params.prediction, params.min_snr).to(ctx.device)
    draw = ctx.generator("batches")
    unet.train()
    forward = ctx.autocast(params.precision)(unet)

    def loss_of(draw: torch.Generator) -> Tensor:
        batch = draw_batch(params, pool, labels, null, draw).to(ctx.device)
        return accumulate(params, forward, schedule, weights, batch)

    _, operations = counted(lambda: loss_of(ctx.generator("counted")))
    for step in ctx.loop(params.steps, net=unet, average=average, optimizer=optimizer, rate=rate):
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(draw)
        nn.utils.clip_grad_norm_(unet.parameters(), params.grad_clip)
        optimizer.step()
        rate.step()
        average.update_parameters(unet)
        if step.index % LOG_EVERY == 0:
            step.log(loss=float(loss))
    return average.module.state_dict(), operations * params.steps
