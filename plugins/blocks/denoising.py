"""Learning to take noise away: batches, the weighted loss, and the loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.optimization import get_scheduler
from torch import Tensor, nn

from fabloom.method import Context

from .denoisers import evaluate
from .denoising_params import Denoising
from .diffusion import loss_weights
from .ema import ema
from .noise import NoiseSchedule, target
from .operations import counted

LOG_EVERY = 10


@dataclass(frozen=True)
class Batch:
    """Clean images [B,C,H,W] in [-1, 1], their noise, times [B], and class numbers [B] or None.

    `free` says which values are noised and learned, as bool of the images' shape; None: all.
    """

    x0: Tensor
    noise: Tensor
    t: Tensor
    labels: Tensor | None
    free: Tensor | None = None

    def split(self, size: int) -> Iterator[Batch]:
        """Pieces of at most `size` images."""
        for start in range(0, len(self.x0), size):
            part = slice(start, start + size)
            yield Batch(*(None if v is None else v[part] for v in self._values))  # type: ignore[arg-type]

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        return Batch(*(None if v is None else v.to(device) for v in self._values))  # type: ignore[arg-type]

    @property
    def _values(self) -> tuple[Tensor | None, ...]:
        return self.x0, self.noise, self.t, self.labels, self.free


def batch_loss(params: Denoising, unet: Callable[..., Any], schedule: NoiseSchedule, weights: Tensor, batch: Batch) -> Tensor:
    """Mean over the batch of the weighted squared error, of each image that of its free values."""
    x = schedule.add_noise(batch.x0, batch.noise, batch.t)
    if batch.free is not None:
        x = torch.where(batch.free, x, batch.x0)
    out = evaluate(unet, x, batch.t, batch.labels)
    error = (out - target(schedule, params.prediction, batch.x0, batch.noise, batch.t)).square().flatten(1)
    if batch.free is None:
        each = error.mean(1)
    else:
        free = batch.free.flatten(1)
        each = (error * free).sum(1) / free.sum(1).clamp(min=1)
    return (weights[batch.t] * each).mean()


def accumulate(params: Denoising, unet: Callable[..., Any], schedule: NoiseSchedule, weights: Tensor, batch: Batch) -> Tensor:
    """Add the gradient of the whole batch's loss, in pieces of `micro_batch` images; returns that loss."""
    total, count = torch.zeros((), device=batch.x0.device), len(batch.x0)
    for part in batch.split(params.micro_batch or count):
        loss = batch_loss(params, unet, schedule, weights, part) * (len(part.x0) / count)
        loss.backward()
        total += loss.detach()
    return total


def fit(
    ctx: Context, params: Denoising, unet: nn.Module, schedule: NoiseSchedule, drawn: Callable[[torch.Generator], Batch]
) -> tuple[dict[str, Any], int]:
    """The loop over batches that `drawn` gives; returns the averaged weights, and the multiply-adds that all steps take."""
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
        return accumulate(params, forward, schedule, weights, drawn(draw).to(ctx.device))

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
