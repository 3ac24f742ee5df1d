"""The task `embed`: encoders that know which map, logs and barcode belong together."""

from __future__ import annotations

from dataclasses import asdict

import torch
from diffusers.optimization import get_scheduler
from torch import nn

from fabloom.errors import DataError
from fabloom.kinds import Model
from fabloom.method import Context
from fabloom.plugins.blocks.overlay.maps import LONGEST, OverlayMaps

from .conditions import Conditions, Shape
from .contrast import Temperature, contrastive, retrieval
from .material import Material, Units
from .params import EmbedParams

ROLE = "ikddit-embedding"
LOG_EVERY = 10
HELD = 128
"""Wafers that are held out to see whether the encoders know wafers that they have not met."""


def embed(ctx: Context, params: EmbedParams, maps: OverlayMaps) -> Model:
    """Train the encoders; the model holds them, the units of the set, and how well they find what belongs together."""
    units = Units.of(maps, params.group_parts)
    material = Material.of(maps, units)
    train, held = apart(maps, params.batch)
    size = maps.values.shape[-1]
    if size % 8:
        raise DataError(f"maps of {size} px do not divide into 8 x 8 patches; simulate or load them in a size that is a multiple of 8")
    shape = Shape(size, len(units.log_names), LONGEST, params.width, params.layers)
    with torch.random.fork_rng():
        torch.manual_seed(ctx.seed)
        net, temperature = Conditions(shape).to(ctx.device), Temperature().to(ctx.device)
    optimizer = torch.optim.AdamW([*net.parameters(), *temperature.parameters()], lr=params.lr, weight_decay=params.weight_decay)
    rate = get_scheduler("cosine", optimizer, num_warmup_steps=min(params.warmup, params.steps // 2), num_training_steps=params.steps)
    draw = ctx.generator("batches")
    forward = ctx.autocast(params.precision)(net.embed)
    for step in ctx.loop(params.steps, net=net, temperature=temperature, optimizer=optimizer, rate=rate):
        rows = train[torch.randperm(len(train), generator=draw)[: params.batch]]
        optimizer.zero_grad(set_to_none=True)
        vectors = forward(material.drawn(rows, draw).to(ctx.device))
        loss = contrastive(vectors, material.groups[rows].to(ctx.device), temperature(), labels=params.contrast == "unified")
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        rate.step()
        if step.index % LOG_EVERY == 0:
            step.log(contrast=loss.item())
    net.eval()
    config = {"role": ROLE, "shape": asdict(shape), "units": units.stored()}
    return Model.write(ctx, dict(net.state_dict()), config | {"held_out": found(ctx, net, temperature, material, held)})


def apart(maps: OverlayMaps, batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows to learn from and rows held out: the wafers of the last lots. Raises DataError for a set with too few wafers or lots."""
    lots = torch.from_numpy(maps.source[...]).long() if maps.source is not None else torch.arange(len(maps))
    numbers = lots.unique()
    held = torch.isin(lots, numbers[-max(1, round(0.1 * len(numbers))) :])
    if len(numbers) < 2 or int((~held).sum()) < batch:
        raise DataError(
            f"set {maps.key[:12]} has {len(maps)} wafers of {len(numbers)} lots; two lots and {batch} wafers beside the one that is held "
            "out are needed: give more, or a smaller batch"
        )
    return torch.nonzero(~held)[:, 0], torch.nonzero(held)[:, 0][:HELD]


@torch.no_grad()
def found(ctx: Context, net: Conditions, temperature: Temperature, material: Material, held: torch.Tensor) -> dict[str, float]:
    """Of wafers that were held out: the loss, and how often the nearest logs of a map, map of logs and map of a barcode belong to it."""
    vectors = {name: value.float().cpu() for name, value in net.embed(material.told.rows(held).to(ctx.device)).items()}
    here = material.groups[held]
    return {
        "wafers": len(held),
        "loss": float(contrastive(vectors, here, temperature().detach().cpu())),
        **{f"{b}_of_{a}": retrieval(vectors, here, a, b) for a, b in (("previous", "logs"), ("logs", "previous"), ("barcode", "previous"))},
    }
