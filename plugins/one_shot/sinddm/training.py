"""Training: one image, a random scale a step, random levels, noises and windows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, mse_loss

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.anchor import Anchor, fitting, zooms_of
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.one_shot import pick
from fabloom.plugins.blocks.pyramid import Pyramid, scale_sizes
from fabloom.plugins.blocks.scale_network import ScaleNetwork
from fabloom.plugins.blocks.scale_training import Windows, average_of, coarsest_side, counted, course, defects_of, pictures, update_average

from . import levels, schedule
from .params import TIMES, TrainParams
from .schedule import Blur

LOG_EVERY = 10


@dataclass(frozen=True)
class Batch:
    """Sharp and blurred images [B,C,h,w], their anchors [B,K,h,w], levels t [B] and noise, all of one scale."""

    x0: Tensor
    blurred: Tensor
    context: Tensor | None
    t: Tensor
    noise: Tensor
    scale: int


def train(ctx: Context, params: TrainParams, images: ImageSet, reference: ImageSet | None) -> Model:
    """The task `train`."""
    picture = pick(images, params.image)
    size, shrinks = fitting(picture, params.max_pixels)
    anchor = Anchor.find(picture, images, size, params.anchor, reference)
    defects = defects_of(picture, anchor, images)
    sizes = scale_sizes(size, params.area, params.ratio, coarsest_side(params, defects))
    shown = pictures(params, picture, anchor, defects, ctx.seed)
    values = GreyMap.fit(picture.pixels) if params.stretch else GreyMap(0.0, levels.WHITE)
    pyramid = levels.build(picture.pixels, sizes, values, quantise=params.quantise)
    noise = schedule.noise_schedule()
    blur = Blur(noise, schedule.limits(params, noise, pyramid, picture.pixels))
    ctx.log(f"{shrinks}{starts(blur, pyramid)}; {anchor.words}{counted(shown)}")
    channels = len(picture.pixels)
    shrunk = partial(levels.shrunk, values=values, quantise=params.quantise)
    contexts = anchor.contexts(zooms_of(sizes), sizes, shrunk)
    # the starting weights come from the global generator, which the engine seeds
    net = ScaleNetwork(channels, params.width, anchor.channels).to(ctx.device)
    state = fit(ctx, params, net, blur, levels.build_all(shown, sizes, values, quantise=params.quantise), contexts)
    kept, tensors = anchor.written()
    config = {
        "role": "sinddm",
        "image": list(picture.pixels.shape),
        "channels": channels,
        "set_channels": picture.channels,
        "width": params.width,
        "sizes": [list(size) for size in sizes],
        "ratio": params.ratio,
        **kept,
        "values": [values.low, values.high],
        "limits": list(blur.limits),
        "levels": trained_levels(params, blur),
        "prediction": params.prediction,
        "quantise": params.quantise,
    }
    weights = {f"net.{name}": value for name, value in state.items()}
    return Model.write(ctx, {**weights, "image": torch.from_numpy(picture.pixels), **tensors}, config)


def starts(blur: Blur, pyramid: Pyramid) -> str:
    """Scales and where they start, for the log."""
    return "scales " + ", ".join(f"{h}x{w} from level {blur.start(s)}" for s, (h, w) in enumerate(pyramid.sizes))


def fit(
    ctx: Context, params: TrainParams, net: nn.Module, blur: Blur, pyramid: Pyramid, contexts: list[Tensor | None]
) -> dict[str, Tensor]:
    """The loop; returns the averaged weights."""
    average = average_of(params, net)
    optimizer = torch.optim.Adam(net.parameters(), lr=params.lr)
    rate = course(params, optimizer)
    draw = ctx.generator("batches")
    highest = trained_levels(params, blur)
    net.train()
    forward = ctx.autocast(params.precision)(net)
    for step in ctx.loop(params.steps, net=net, average=average, optimizer=optimizer, rate=rate):
        batch = draw_batch(params, pyramid, contexts, highest, draw)
        loss = batch_loss(params, blur, forward, batch, ctx.device)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        rate.step()
        update_average(params, average, net, step.index)
        if step.index % LOG_EVERY == 0:
            step.log(**{f"loss_scale_{batch.scale}": float(loss.detach())})
    state: dict[str, Tensor] = average.module.state_dict()
    return state


def trained_levels(params: TrainParams, blur: Blur) -> list[int]:
    """How many noise levels of every scale are trained, from 0 up; one at least."""
    return [TIMES if params.levels == "all" else max(blur.start(scale), 1) for scale in range(len(blur.limits))]


def draw_batch(params: TrainParams, pyramid: Pyramid, contexts: list[Tensor | None], highest: list[int], draw: torch.Generator) -> Batch:
    """A random scale, and for every example a window of it, a level below the scale's `highest`, and a noise of its own."""
    scale = int(torch.randint(len(pyramid.images), (), generator=draw))
    image, recon, context = pyramid.images[scale], pyramid.recons[scale], contexts[scale]
    windows = Windows.draw(params, scale, image, draw)
    x0 = windows.of(image)
    blurred = x0 if recon is None else windows.of(recon)
    t = torch.randint(highest[scale], (params.batch,), generator=draw)
    noise = torch.randn(x0.shape, generator=draw)
    return Batch(x0, blurred, None if context is None else windows.of(context), t, noise, scale)


def batch_loss(params: TrainParams, blur: Blur, net: Callable[..., Tensor], batch: Batch, device: torch.device) -> Tensor:
    """Mean absolute (published) or squared error of what the network predicts."""
    x0, blurred, noise = (values.to(device) for values in (batch.x0, batch.blurred, batch.noise))
    context = None if batch.context is None else batch.context.to(device)
    share = blur.shares(batch.scale)[batch.t].to(x0)[:, None, None, None]
    x = blur.noise.add_noise(share * blurred + (1 - share) * x0, noise, batch.t)
    scale = torch.full((len(x),), batch.scale, device=device)
    out = net(x, batch.t.to(device), scale, context).float()
    wanted = {"epsilon": noise, "sample": x0}.get(params.prediction)
    if wanted is None:
        wanted = blur.slope(x0, x, batch.t)
    return (l1_loss if params.loss == "l1" else mse_loss)(out, wanted)
