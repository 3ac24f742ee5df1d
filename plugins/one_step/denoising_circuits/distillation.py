"""Training the one-step student on recorded trajectories."""

from __future__ import annotations

import copy
from collections.abc import Callable

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

from .backbone import attention_layers, load_backbone
from .networks import Circuit
from .params import DistillParams
from .reading import ELSEWHERE
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
    net.student.train()
    for step in ctx.loop(params.steps, net=net, average=average, optimizer=optimizer, cycle=cycle):
        rows = fetch(torch.randint(len(offline), (params.batch,), generator=draw).numpy())
        x, x0, wanted = on_device(rows, ctx.device)
        with ctx.autocast(params.precision):
            loss, parts = student_loss(net, params, x, x0, wanted)
        descend(loss, net, optimizer, cycle, params.grad_clip)
        average.update_parameters(net)
        if step.index % LOG_EVERY == 0:
            step.log(loss=float(loss.detach()), **{name: float(value) for name, value in parts.items()})
    kept = {name: teacher.config[name] for name in ("circuit", "schedule", "grey", "image")}
    shape = {"chunks": offline.chunks, "final_norm": params.final_norm, "predict_end": params.predict_end}
    config = {**kept, **shape, "role": "student", "teacher": teacher.key}
    return Model.write(ctx, {f"one_step.{name}": value for name, value in average.module.state_dict().items()}, config)


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
    """A student that starts from the teacher's Rin backbone (LoRA folded in), with the teacher's readout frozen."""
    net = OneStep(circuit.config, chunks, final_norm, predict_end)
    load_backbone(net.student.unet, folded(circuit.rin.unet).state_dict())
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
