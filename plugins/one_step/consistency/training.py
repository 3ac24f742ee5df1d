"""Training a consistency function: with a teacher by its steps, without one by noise on the same image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers.optimization import get_scheduler
from torch import Tensor, nn

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.backbone import Network as Shape
from fabloom.plugins.blocks.backbone import Transformer
from fabloom.plugins.blocks.codec import Codec
from fabloom.plugins.blocks.denoisers import Denoiser, anew, build, kept, load
from fabloom.plugins.blocks.dit import Dit
from fabloom.plugins.blocks.ema import ema
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.noise import BETA_SCHEDULES, NoiseSchedule, noise_schedule
from fabloom.plugins.blocks.operations import OPERATIONS, counted, operations_of
from fabloom.plugins.blocks.pool import Pool

from .function import Function, distance, level_shares, points_at, teacher_times, training_times
from .networks import ROLE, network_of
from .params import TrainParams

LOG_EVERY = 10
BETAS = (1e-4, 0.02)
"""Ends of the schedule without a teacher."""


@dataclass(frozen=True)
class Setting:
    """What a model keeps beside its weights, and the teacher, if there is one."""

    config: dict[str, Any]
    schedule: NoiseSchedule
    teacher: Function | None

    def function(self, unet: Callable[..., Any]) -> Function:
        """The consistency function of a U-Net."""
        return Function(network_of(unet), self.schedule, self.config["prediction_type"])


def train(ctx: Context, params: TrainParams, images: ImageSet, teacher: Model | None, autoencoder: Model | None) -> Model:
    """The task `train`: the model holds the averaged weights."""
    if teacher is not None and autoencoder is not None:
        raise DataError("a teacher says itself whether it knows pixels or latents; leave out the input 'autoencoder'")
    shape: tuple[int, int, int] = images.images.shape[1:]  # type: ignore[assignment]
    source = None if teacher is None else teaching(teacher, shape, ctx.device)
    codec = Codec.of(autoencoder, ctx.device) if autoencoder else Codec.inside(teacher, ctx.device) if teacher else None
    pool = Pool.of(images, params.flip_x, params.flip_y, codec, GreyMap(*teacher.config["grey"]) if teacher else None)
    if teacher is None or source is None:
        unet = build(params, params.network or Shape(), pool.shape)
        setting = alone(params)
    else:
        other = params.backbone == "dit" and not isinstance(source, Dit)
        own = other or params.network is not None or params.transformer != Transformer()
        unet = build(params, params.network or Shape(), pool.shape) if own else anew(source)
        setting = of_teacher(teacher, ctx.autocast(params.precision)(source))
    weights, operations = fit(ctx, params, unet.to(ctx.device), pool, setting)
    state, network = kept(unet, weights)
    tensors, told = pool.kept()
    taken = operations + (operations_of(teacher.config) if teacher else 0)
    config = {"role": ROLE, **network, "image": list(shape), **setting.config, **told, OPERATIONS: taken}
    return Model.write(ctx, state | tensors, config)


def alone(params: TrainParams) -> Setting:
    """Without a teacher: what the parameters say."""
    name = BETA_SCHEDULES[params.schedule]
    config = {"prediction_type": params.prediction, "schedule": name, "beta_start": BETAS[0], "beta_end": BETAS[1]}
    return Setting(config, noise_schedule(name, *BETAS), None)


def of_teacher(teacher: Model, unet: Callable[..., Any]) -> Setting:
    """What the teacher says."""
    names = ("prediction_type", "schedule", "beta_start", "beta_end")
    config = {name: teacher.config[name] for name in names}
    schedule = noise_schedule(config["schedule"], config["beta_start"], config["beta_end"])
    function = Function(network_of(unet), schedule, config["prediction_type"])
    return Setting(config, schedule, function)


def teaching(teacher: Model, shape: tuple[int, int, int], device: torch.device) -> Denoiser:
    """The teacher's network. Raises DataError for a model of another method, of classes, or of other images."""
    unet = load(teacher, "ddpm", device)
    if teacher.config["classes"]:
        raise DataError(f"teacher {teacher.key[:12]} knows classes, which a consistency model does not; train one with classes: none")
    if tuple(teacher.config["image"]) != shape:
        raise DataError(f"teacher {teacher.key[:12]} makes images {teacher.config['image']}, the training images are {list(shape)}")
    return unet


def draw_times(params: TrainParams, setting: Setting, step: int, draw: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """(earlier time, later time, weight), each [B]: neighbours of the grid, all alike with a teacher, by their noise without one."""
    if setting.teacher is not None:
        times = teacher_times(params.points)
        index = torch.randint(params.points, (params.batch,), generator=draw)
        return times[index], times[index + 1], torch.ones(params.batch)
    times = training_times(points_at(step, params.steps, params.first_points, params.last_points))
    chance, weight = level_shares(setting.schedule, times, params.noise_mean, params.noise_deviation)
    index = torch.multinomial(chance, params.batch, replacement=True, generator=draw)
    return times[index], times[index + 1], weight[index].float()


def batch_loss(
    params: TrainParams, live: Function, target: Function, setting: Setting, x0: Tensor, noise: Tensor, times: tuple[Tensor, Tensor, Tensor]
) -> Tensor:
    """Mean weighted distance of f at the later time to the fixed f at the earlier, which a teacher's step or the same noise leads to."""
    earlier, later, weight = times
    x = setting.schedule.add_noise(x0, noise, later)
    with torch.no_grad():
        taught = setting.teacher
        before = taught.stepped(x, later, earlier) if taught else setting.schedule.add_noise(x0, noise, earlier)
        goal = target(before, earlier)
    return (weight * distance(live(x, later), goal, params.huber)).mean()


def fit(ctx: Context, params: TrainParams, unet: nn.Module, pool: Pool, setting: Setting) -> tuple[dict[str, Any], int]:
    """The loop; returns the averaged weights, and the multiply-adds that all steps take."""
    average, behind = ema(unet, params.ema_decay), ema(unet, params.target_decay, warmup=False)
    optimizer = torch.optim.AdamW(unet.parameters(), lr=params.lr, weight_decay=0.0)
    course = "cosine" if params.decay == "cosine" else "constant_with_warmup"
    rate = get_scheduler(course, optimizer, num_warmup_steps=min(params.warmup, params.steps // 2), num_training_steps=params.steps)
    draw, precise = ctx.generator("batches"), ctx.autocast(params.precision)
    live = setting.function(precise(unet))
    target = live if setting.teacher is None else setting.function(precise(behind.module))
    unet.train()
    behind.module.eval()

    def loss_of(index: int, draw: torch.Generator) -> Tensor:
        x0, _ = pool.batch(params.batch, draw)
        noise = torch.randn(x0.shape, generator=draw).to(ctx.device)
        earlier, later, weight = (part.to(ctx.device) for part in draw_times(params, setting, index, draw))
        loss = batch_loss(params, live, target, setting, x0.to(ctx.device), noise, (earlier, later, weight))
        loss.backward()
        return loss.detach()

    _, operations = counted(lambda: loss_of(0, ctx.generator("counted")))
    for step in ctx.loop(params.steps, net=unet, average=average, behind=behind, optimizer=optimizer, rate=rate):
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(step.index, draw)
        nn.utils.clip_grad_norm_(unet.parameters(), params.grad_clip)
        optimizer.step()
        rate.step()
        average.update_parameters(unet)
        behind.update_parameters(unet)
        if step.index % LOG_EVERY == 0:
            step.log(loss=float(loss))
    return average.module.state_dict(), operations * params.steps
