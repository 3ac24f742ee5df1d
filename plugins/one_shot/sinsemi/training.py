"""Training: one image, a random scale a step, random times, noises and windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.anchor import Anchor, fitting, zooms_of
from fabloom.plugins.blocks.one_shot import pick
from fabloom.plugins.blocks.pyramid import scale_sizes
from fabloom.plugins.blocks.scale_network import ScaleNetwork
from fabloom.plugins.blocks.scale_training import Windows, average_of, coarsest_side, counted, course, defects_of, pictures, update_average

from . import levels
from .bridge import EDGE, Bridge
from .params import TrainParams

LOG_EVERY = 10
SHORTEST = 1e-4
"""Least time that is drawn: at t = 0 the path's noise vanishes and its velocity is infinite."""


@dataclass(frozen=True)
class Batch:
    """Clean and degraded ends [B,C,h,w], their anchors [B,K,h,w], t [B,1,1,1] and z like the ends, all of one scale."""

    x0: Tensor
    x1: Tensor
    context: Tensor | None
    t: Tensor
    z: Tensor
    scale: int


def train(ctx: Context, params: TrainParams, images: ImageSet, reference: ImageSet | None) -> Model:
    """The task `train`."""
    picture = pick(images, params.image)
    size, shrinks = fitting(picture, params.max_pixels)
    anchor = Anchor.find(picture, images, size, params.anchor, reference)
    defects = defects_of(picture, anchor, images)
    sizes = scale_sizes(size, params.area, params.ratio, coarsest_side(params, defects))
    shown = pictures(params, picture, anchor, defects, ctx.seed)
    ctx.log(f"{shrinks}scales {', '.join(f'{h}x{w}' for h, w in sizes)}; {anchor.words}{counted(shown)}")
    scales = levels.build_all(shown, sizes, normalise=params.normalise, quantise=params.quantise)
    shrunk = partial(levels.shrunk, normalise=params.normalise, quantise=params.quantise, like=scales)
    contexts = anchor.contexts(zooms_of(sizes), sizes, shrunk)
    channels = len(picture.pixels)
    # the starting weights come from the global generator, which the engine seeds
    net = ScaleNetwork(channels, params.width, anchor.channels).to(ctx.device)
    state = fit(ctx, params, net, scales, contexts)
    kept, tensors = anchor.written()
    config = {
        "role": "sinsemi",
        "channels": channels,
        "set_channels": picture.channels,
        "width": params.width,
        "sizes": [list(size) for size in sizes],
        **kept,
        "sigma": params.sigma,
        "prediction": params.prediction,
        "time_unit": params.time_unit,
        "normalise": params.normalise,
        "quantise": params.quantise,
    }
    weights = {f"net.{name}": value for name, value in state.items()}
    return Model.write(ctx, {**weights, "image": torch.from_numpy(picture.pixels), **tensors}, config)


def fit(ctx: Context, params: TrainParams, net: nn.Module, scales: levels.Levels, contexts: list[Tensor | None]) -> dict[str, Tensor]:
    """The loop; returns the averaged weights."""
    bridge = Bridge(params.sigma)
    average = average_of(params, net)
    optimizer = torch.optim.Adam(net.parameters(), lr=params.lr)
    rate = course(params, optimizer)
    draw = ctx.generator("batches")
    net.train()
    forward = ctx.autocast(params.precision)(net)
    for step in ctx.loop(params.steps, net=net, average=average, optimizer=optimizer, rate=rate):
        batch = draw_batch(params, scales, contexts, draw)
        loss = batch_loss(params, bridge, forward, batch, ctx.device)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), params.grad_clip)
        optimizer.step()
        rate.step()
        update_average(params, average, net, step.index)
        if step.index % LOG_EVERY == 0:
            step.log(**{f"loss_scale_{batch.scale}": float(loss.detach())})
    state: dict[str, Tensor] = average.module.state_dict()
    return state


def draw_batch(params: TrainParams, scales: levels.Levels, contexts: list[Tensor | None], draw: torch.Generator) -> Batch:
    """A random scale, the coarsest more often, and for every example a window of it, a time and noises of its own."""
    count = len(scales.images) - (params.scales == "all but finest" and len(scales.images) > 1)
    again = params.coarsest - 1
    scale = max(int(torch.randint(count + again, (), generator=draw)) - again, 0)
    image, recon, context = scales.images[scale], scales.recons[scale], contexts[scale]
    windows = Windows.draw(params, scale, image, draw)
    x0 = windows.of(image)
    x1 = torch.randn(x0.shape, generator=draw) if recon is None else windows.of(recon)
    t = torch.rand(params.batch, 1, 1, 1, generator=draw).clamp(SHORTEST, 1 - SHORTEST)
    z = torch.randn(x0.shape, generator=draw)
    return Batch(x0, x1, None if context is None else windows.of(context), t, z, scale)


def batch_loss(params: TrainParams, bridge: Bridge, net: Callable[..., Tensor], batch: Batch, device: torch.device) -> Tensor:
    """Mean squared error of the velocity, as in SinSEMI, or of the drift.

    The drift's target grows like 1 / sqrt(t) as t falls: below t = 0.05 its error is weighted by (t / 0.05)^2. At known ends an
    error of the velocity is half that of the drift, so both losses agree up to the factor 4.
    """
    x0, x1, t, z = (values.to(device) for values in (batch.x0, batch.x1, batch.t, batch.z))
    context = None if batch.context is None else batch.context.to(device)
    x = bridge.point(x0, x1, t, z)
    scale = torch.full((len(x),), batch.scale, device=device)
    out = net(x, params.time_unit * t.flatten(), scale, context)
    if params.prediction == "velocity":
        return mse_loss(out.float(), bridge.velocity(x0, x1, t, z, params.clamp))
    weight = (t / EDGE).clamp(max=1)
    return mse_loss(weight * out.float(), weight * (x - x0) / t)
