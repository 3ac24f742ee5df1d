"""The task `train`: defects cut out, windows of them, and a network that makes the change inside of a mask from the clean window."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from fabloom.kinds import ImageSet, Model
from fabloom.kinds.masks import is_defect
from fabloom.method import Context
from fabloom.plugins.blocks.cutouts.cutting import Cut, cut_out
from fabloom.plugins.blocks.cutouts.places import Places
from fabloom.plugins.blocks.ema import ema
from fabloom.plugins.blocks.grain import ROUNDING, denoised
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.ground import grey_of
from fabloom.plugins.blocks.scale_network import ScaleNetwork
from fabloom.plugins.blocks.streams import numpy_stream

from .flow import TIME_UNIT, point, target
from .params import TrainParams
from .windows import Bank, Batch, Units, widened

Real = NDArray[np.float64]
LOG_EVERY = 10
EDGE = 0.05
"""Share of the pixels in real masks that change by less than what a generated mask is tightened to."""


def train(ctx: Context, params: TrainParams, images: ImageSet, reference: ImageSet | None) -> Model:
    """The task `train`."""
    cut = cut_out(ctx, params, images, reference, quiet=True)
    state, config = cut.written(images)
    values = [int(np.bincount(one.piece.mask[is_defect(one.piece.mask)]).argmax()) for one in cut.found]
    own = labels_of(images, config["defects"], values)
    labels = sorted(set(own))
    kinds = [labels.index(label) for label in own]
    smooth = np.stack([denoised(image.astype(np.float64), cut.noise.clean) for image in cut.clean])
    pieces = [one.piece for one in cut.found]
    units = Units(GreyMap.fit(cut.clean), max(float(np.sqrt(np.mean(np.concatenate(changes(cut.found), 1) ** 2))), 1.0))
    places = Places(pieces, lambda clean: grey_of(smooth[clean]), (smooth.shape[2], smooth.shape[3]), params.mirror, forced=False)
    bank = Bank.of(params, cut.found, kinds, smooth, places, units, numpy_stream(ctx.seed, "windows"))
    told = f"{len(pieces)} defects of {len(labels)} classes on {len(cut.clean)} clean images"
    ctx.log(f"{told}: {len(bank)} windows of {bank.side} x {bank.side}")
    # the starting weights come from the global generator, which the engine seeds
    net = ScaleNetwork(len(cut.clean[0]), params.width, len(cut.clean[0]) + 1).to(ctx.device)
    weights = fit(ctx, params, net, bank)
    config |= {
        "role": "inpaint",
        "channels": len(cut.clean[0]),
        "width": params.width,
        "window": bank.side,
        "margin": params.margin,
        "soft": cut.noise.image**2 > ROUNDING,
        "grey": [units.grey.low, units.grey.high],
        "unit": units.change,
        "limit": max(float(np.abs(one).max()) for one in changes(cut.found)) / units.change * params.contrast[1],
        "noise_clean": cut.noise.clean,
        "kinds": labels,
        "values": [values[kinds.index(kind)] for kind in range(len(labels))],
        "defect_kinds": kinds,
        "edges": edges_of(cut.found, kinds),
    }
    state |= {f"net.{name}": value for name, value in weights.items()}
    return Model.write(ctx, {"clean": torch.from_numpy(cut.clean), **state}, config)


def changes(found: Sequence[Cut]) -> list[Real]:
    """What each defect changes in its mask, [C,P] grey levels."""
    return [one.piece.change[:, is_defect(one.piece.mask)] for one in found]


def labels_of(images: ImageSet, told: Sequence[Mapping[str, Any]], values: Sequence[int]) -> list[int]:
    """The class of every defect: its image's or its mask's, as it was cut out; 0 where the set has no classes."""
    named = bool(images.class_names) and images.mask_names == images.class_names
    return [int(one.get("label", value if named else 0)) for one, value in zip(told, values, strict=True)]


def edges_of(found: Sequence[Cut], kinds: Sequence[int]) -> list[float]:
    """By class, the grey levels by which all but the least twentieth of the pixels in real masks change; one at least."""
    sizes = [np.abs(one).max(0) for one in changes(found)]
    of_kind = [[size for size, own in zip(sizes, kinds, strict=True) if own == kind] for kind in range(max(kinds) + 1)]
    return [max(float(np.quantile(np.concatenate(own), EDGE)), 1.0) for own in of_kind]


def fit(ctx: Context, params: TrainParams, net: nn.Module, bank: Bank) -> dict[str, Tensor]:
    """The loop; returns the averaged weights."""
    average = ema(net, params.ema_decay)
    optimizer = torch.optim.Adam(net.parameters(), lr=params.lr)
    rate = CosineAnnealingLR(optimizer, max(params.steps, 1))
    draw = ctx.generator("batches")
    net.train()
    forward = ctx.autocast(params.precision)(net)
    for step in ctx.loop(params.steps, net=net, average=average, optimizer=optimizer, rate=rate):
        loss = batch_loss(params, forward, bank.draw(params, draw).to(ctx.device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), params.grad_clip)
        optimizer.step()
        rate.step()
        average.update_parameters(net)
        if step.index % LOG_EVERY == 0:
            step.log(loss=float(loss.detach()))
    state: dict[str, Tensor] = average.module.state_dict()
    return state


def batch_loss(params: TrainParams, net: Callable[..., Tensor], batch: Batch) -> Tensor:
    """Mean squared error within the masks, and `rest` times that of the masks widened by `margin`, beyond which nothing is made."""
    wide = widened(batch.mask, params.margin)
    context = torch.cat([batch.ground, batch.mask], 1)
    out = net(wide * point(batch.change, batch.z, batch.t), TIME_UNIT * batch.t.flatten(), batch.kinds, context)
    error = (out.float() - target(batch.change, batch.z, batch.t)).square().mean(1, keepdim=True)
    within, around = ((part * error).sum() / part.sum().clamp(min=1) for part in (batch.mask, wide))
    return within + params.rest * around
