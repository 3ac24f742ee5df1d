"""Training the one-step student on recorded trajectories."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.nn.utils import parametrize

from fabloom.errors import DataError
from fabloom.kinds import Model, OfflineData
from fabloom.method import Context
from fabloom.plugins.blocks.ema import ema
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.leftover import Leftover
from fabloom.plugins.blocks.operations import OPERATIONS, counted, operations_of

from .backbone import attention_layers, load_backbone
from .networks import Circuit
from .params import DistillParams
from .reading import ELSEWHERE
from .starting import bypass_of
from .student import OneStep
from .training import LOG_EVERY, descend, load_circuit, optimizer_for

NAMES = ("x_T", "x0", "rin0", "rin0_scale", "r_chunks", "r_chunks_scale")
READ_ROWS = 512
MIB = 2**20

Rows = dict[str, NDArray[np.generic]]


def distill(ctx: Context, params: DistillParams, teacher: Model, offline: OfflineData) -> Model:
    """The task `distill`: weights are the averaged ones; the frozen readout travels with the student."""
    if teacher.config.get("role") != "teacher":
        raise DataError(f"input 'teacher' is no denoising-circuits teacher but a '{teacher.config.get('role')}'")
    check_rows(params, teacher, offline)
    circuit = load_circuit(teacher, ctx.device)
    net = student_of(circuit, offline.chunks, params.final_norm, params.predict_end).to(ctx.device)
    net.x0_head.requires_grad_(params.train_readout).train(params.train_readout)
    average = ema(net, params.ema_decay)
    fetch = row_source(offline, params.cache_mib)
    optimizer, cycle = optimizer_for(net, params.steps, params.lr, params.weight_decay, params.cycle_momentum)
    draw = ctx.generator("rows")
    taught = taught_rows(len(offline), params.held_out)
    net.student.train()

    def loss_of(draw: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        rows = fetch(torch.randint(taught, (params.batch,), generator=draw).numpy())
        with ctx.autocast(params.precision):
            return student_loss(net, params, *on_device(rows, ctx.device))

    def step_once() -> None:
        loss_of(ctx.generator("counted"))[0].backward()

    operations = counted(step_once)[1] * params.steps
    for step in ctx.loop(params.steps, net=net, average=average, optimizer=optimizer, cycle=cycle):
        loss, parts = loss_of(draw)
        descend(loss, net, optimizer, cycle, params.grad_clip)
        average.update_parameters(net)
        if step.index % LOG_EVERY == 0:
            step.log(loss=float(loss.detach()), **{name: float(value) for name, value in parts.items()})
    kept = {name: teacher.config[name] for name in ("circuit", "schedule", "grey", "image")}
    shape = {"chunks": offline.chunks, "final_norm": params.final_norm, "predict_end": params.predict_end}
    error, grain = held_out(ctx, params, average.module, fetch, range(taught, len(offline)), GreyMap(*teacher.config["grey"]))
    config: dict[str, Any] = {**kept, **shape, "role": "student", "teacher": teacher.key, "held_out": error}
    config[OPERATIONS] = operations + operations_of(teacher.config) + operations_of(offline.attrs)
    tensors = {f"one_step.{name}": value for name, value in average.module.state_dict().items()}
    return Model.write(ctx, tensors | {f"grain.{name}": value for name, value in grain.items()}, config)


HELD = 512
"""Held-out rows that are looked at."""


def taught_rows(rows: int, held_out: float) -> int:
    """Rows that are trained on, the first ones. Raises DataError for too few."""
    if rows < 2:
        raise DataError("one recorded sample is not enough: some are trained on, others are held out")
    return rows - max(1, min(rows - 1, round(rows * held_out)))


@torch.no_grad()
def held_out(
    ctx: Context, params: DistillParams, net: nn.Module, fetch: Callable[[NDArray[np.int64]], Rows], rows: range, grey: GreyMap
) -> tuple[dict[str, float | None], dict[str, Tensor]]:
    """Of rows that were not trained on: the share of the variance about their mean image that one step leaves unexplained; and the grain
    that it leaves out, the power that its images lack, in grey levels.
    """
    net.eval()
    found, wanted = [], []
    numbers = np.array(rows[:HELD], np.int64)
    for part in np.array_split(numbers, -(-len(numbers) // params.batch)):
        x, x0, _ = on_device(fetch(part), ctx.device)
        with ctx.autocast(params.precision):
            found.append(net(x).float().cpu())
        wanted.append(x0.cpu())
    answers, truth = torch.cat(found), torch.cat(wanted)
    variance = float((truth - truth.mean(0)).square().mean())
    unexplained = float(mse_loss(answers, truth)) / variance if variance > 0 else None
    levels = [images.double().numpy() * grey.half for images in (truth, answers)]
    grain = Leftover.of(*levels)
    return {"rows": len(numbers), "unexplained_variance": unexplained}, grain.tensors()


def check_rows(params: DistillParams, teacher: Model, offline: OfflineData) -> None:
    """Raise DataError for rows that this teacher's student cannot learn from."""
    source = offline.attrs.get("teacher")
    if source not in (teacher.key, ELSEWHERE):
        raise DataError(f"the teacher data were recorded from model {str(source)[:12]}, not from {teacher.key[:12]}")
    if source != ELSEWHERE:
        return
    circuit, image = teacher.config["circuit"], list(teacher.config["image"])
    if not params.train_readout:
        raise DataError("the teacher data were recorded elsewhere, and this teacher cannot read their latents; give train_readout: true")
    if circuit["carry"]:
        raise DataError(
            f"teacher {teacher.key[:12]} carries pixels in its latent, and data from elsewhere do not; train one with carry: false"
        )
    wanted = [circuit["latent_channels"], *(side // circuit["patch"] for side in image[1:])]
    found, shown = list(offline.array("rin0").shape[1:]), list(offline.array("x_T").shape[1:])
    if found != wanted or shown != image:
        raise DataError(f"teacher {teacher.key[:12]} has images {image} and latents {wanted}, the teacher data {shown} and {found}")


def student_of(circuit: Circuit, chunks: int, final_norm: bool, predict_end: bool) -> OneStep:
    """A student that starts from the teacher's Rin backbone (LoRA folded in), with the teacher's readout frozen.

    Where Rin is the pixels themselves it starts from R's, with the plain convolution that R reads pixels by.
    """
    net = OneStep(circuit.config, chunks, final_norm, predict_end)
    if circuit.rin.unet is not None:
        start = folded(circuit.rin.unet).state_dict()
    else:
        weight, bias = bypass_of(circuit.step.inlet)
        start = folded(circuit.step.unet).state_dict() | {"conv_in.weight": weight, "conv_in.bias": bias}
    load_backbone(net.student.unet, start)
    net.x0_head.load_state_dict(circuit.x0_head.state_dict())
    net.x0_head.requires_grad_(False).eval()
    return net


def folded(unet: nn.Module) -> nn.Module:
    """A copy whose attention weights hold their low-rank update."""
    plain = copy.deepcopy(unet)
    for layer in list(attention_layers(plain)):
        if parametrize.is_parametrized(layer):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return plain


def row_source(offline: OfflineData, cache_mib: int) -> Callable[[NDArray[np.int64]], Rows]:
    """Reads rows as stored (int8 codes and scales). A set within `cache_mib` is decoded once and kept."""
    reader = offline.reader(NAMES)
    size = sum(int(np.prod(offline.array(name).shape)) * offline.array(name).dtype.itemsize for name in NAMES)
    if size > cache_mib * MIB:
        return reader.read
    pieces = [reader.read(np.arange(start, min(start + READ_ROWS, len(offline)))) for start in range(0, len(offline), READ_ROWS)]
    kept = {name: np.concatenate([piece[name] for piece in pieces]) for name in NAMES}
    return lambda rows: {name: array[rows] for name, array in kept.items()}


def on_device(rows: Rows, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """x_T, x_0 [B,C,H,W] and the latents [B,1+K,L,h,w], float32. Codes travel as int8 and are dequantised there."""
    values = {name: torch.from_numpy(np.ascontiguousarray(rows[name])).to(device) for name in NAMES}
    rin = values["rin0"].float() * values["rin0_scale"][..., None, None]
    chunks = values["r_chunks"].float() * values["r_chunks_scale"][..., None, None]
    return values["x_T"].float(), values["x0"].float(), torch.cat([rin[:, None], chunks], 1)


def student_loss(net: OneStep, params: DistillParams, x: Tensor, x0: Tensor, wanted: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """Start, chunks, their sum and the image read out of it, each a mean squared error."""
    found = net.student(x)
    losses = {
        "rin": mse_loss(found[:, 0], wanted[:, 0]),
        "chunks": mse_loss(found[:, 1:], wanted[:, 1:]),
        "sum": mse_loss(net.end(found), wanted.sum(1)),
        "x0": mse_loss(net.read(found), x0),
    }
    weights = {"rin": params.rin_weight, "chunks": params.chunk_weight, "sum": params.sum_weight, "x0": params.x0_weight}
    total = torch.stack([weights[name] * value for name, value in losses.items() if weights[name]]).sum()
    return total, {name: value.detach() for name, value in losses.items()}
