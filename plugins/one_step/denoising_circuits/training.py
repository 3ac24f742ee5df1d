"""Training a circuit: the base U-Net first where none is given, then the stages of the recurrence."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.ema import ema
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.noise import NoiseSchedule
from fabloom.plugins.blocks.operations import OPERATIONS, counted

from .backbone import share_frozen
from .base import given_base, train_base
from .losses import BaseChain, Points, Weights, base_points, circuit_loss, data_points, ddim_points
from .networks import Circuit, CircuitConfig
from .params import Loss, Stage, TrainParams
from .starting import base_chain, build, start_as_ddim


def train(ctx: Context, params: TrainParams, images: ImageSet, base: Model | None) -> Model:
    """The task `train`: weights are the averaged ones."""
    source = given_base(params, images, base)
    grey = source.grey if source is not None and source.grey is not None else GreyMap.fit(np.asarray(images.images))
    pool = Pool.of(params, images, grey)
    pixels = pool.pixels
    schedule = NoiseSchedule.make(params.timesteps, params.schedule)
    if source is None:
        source = train_base(ctx, params, pool)
    circuit = build(params, source, pixels.shape[1])
    if params.carry and source.prediction == "v_prediction":
        start_as_ddim(circuit, source, schedule)
    circuit.to(ctx.device)
    chain = base_chain(source, circuit.config, params.schedule, params.fineness, ctx.device) if params.chain == "base" else None
    average = ema(circuit, params.ema_decay)
    operations = source.operations
    for number, stage in enumerate(params.course):
        operations += run_stage(ctx, params, stage, f"stage{number}", circuit, average, pool, schedule, chain)
    config: dict[str, Any] = {
        "role": "teacher",
        "circuit": circuit.config.as_json(),
        "schedule": params.schedule,
        "grey": [grey.low, grey.high],
        "image": list(pixels.shape[1:]),
        OPERATIONS: operations,
    }
    tensors = {f"circuit.{name}": value for name, value in unique_state(average.module).items()}
    if chain is not None:  # `compare` measures how near R comes to it
        tensors |= {f"base.{name}": value for name, value in source.state.items()}
        config["substeps"] = params.fineness
    return Model.write(ctx, tensors, config)


def unique_state(module: nn.Module) -> dict[str, Tensor]:
    """The state dict with tensors that two parts share held once, under the first name."""
    seen: dict[int, str] = {}
    return {name: value for name, value in module.state_dict().items() if seen.setdefault(value.data_ptr() or id(value), name) == name}


def load_circuit(model: Model, device: torch.device) -> Circuit:
    """The circuit of a teacher model, in evaluation mode. Needs nothing but the model."""
    circuit = Circuit(CircuitConfig.from_json(model.config["circuit"]))
    if circuit.rin.unet is not None:
        share_frozen(circuit.rin.unet, circuit.step.unet)
    missing, unexpected = circuit.load_state_dict(model.state("circuit."), strict=False)
    lost = set(missing) & set(unique_state(circuit))
    if lost or unexpected:
        raise DataError(f"model {model.key[:12]} is no circuit of this config: missing {sorted(lost)[:3]}, unknown {unexpected[:3]}")
    # a fifth less time for the convolutions of a CPU, and what the tensor cores of a GPU want
    circuit.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return circuit.eval().requires_grad_(False)


def run_stage(
    ctx: Context, params: TrainParams, stage: Stage, name: str, circuit: Circuit, average: AveragedModel, pool: Pool,
    schedule: NoiseSchedule, chain: BaseChain | None,
) -> int:  # fmt: skip
    """One stage: fresh optimizer and one-cycle schedule, weights and average go on. Returns the multiply-adds that it takes on average."""
    if not stage.steps:
        return 0
    trained = [p for p in circuit.parameters() if p.requires_grad]
    if stage.only_step:
        held = {id(p) for p in circuit.step.parameters()}
        for parameter in trained:
            parameter.requires_grad_(id(parameter) in held)
    optimizer, cycle = optimizer_for(circuit, stage.steps, stage.lr, params.weight_decay, params.cycle_momentum)
    draw = ctx.generator(name)
    probabilities = torch.tensor(stage.step_probs)
    weights = Weights(params.consistency_weight, params.x0_weight, stage.loss)

    def loss_of(depth: int, draw: torch.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        x0 = pool.batch(params.batch, draw).to(ctx.device)
        t = torch.randint(depth, params.timesteps, (len(x0),), generator=draw).to(ctx.device)
        noise = torch.randn(x0.shape, generator=draw).to(ctx.device)
        x = schedule.add_noise(x0, noise, t)
        with ctx.autocast(params.precision):
            points = targets(params, circuit, average, schedule, chain, x, x0, noise, t, depth, stage.loss)
            return circuit_loss(circuit, points, x0, schedule.velocity(x0, noise, t), x, t, depth, weights)

    def step_once(depth: int) -> None:
        loss_of(depth, ctx.generator(f"{name} counted"))[0].backward()

    circuit.eval()  # counting leaves no trace
    chances = enumerate(stage.step_probs)
    operations = sum(counted(partial(step_once, depth))[1] * chance for depth, chance in chances if chance)
    circuit.train()
    for step in ctx.loop(stage.steps, name=name, net=circuit, average=average, optimizer=optimizer, cycle=cycle):
        loss, parts = loss_of(int(torch.multinomial(probabilities, 1, generator=draw)), draw)
        descend(loss, circuit, optimizer, cycle, params.grad_clip)
        average.update_parameters(circuit)
        if step.index % LOG_EVERY == 0:
            step.log(loss=float(loss.detach()), **{part: float(value) for part, value in parts.items()})
    for parameter in trained:
        parameter.requires_grad_(True)
    return round(operations * stage.steps)


LOG_EVERY = 10


def targets(
    params: TrainParams, circuit: Circuit, average: AveragedModel, schedule: NoiseSchedule, chain: BaseChain | None, x: Tensor,
    x0: Tensor, noise: Tensor, t: Tensor, depth: int, loss: Loss,
) -> Points | None:  # fmt: skip
    """Where the chain should be, by the teacher that `params.chain` names, in evaluation mode."""
    if depth == 0:
        return None
    teacher: Circuit = average.module if params.chain == "ema" else circuit  # type: ignore[assignment]
    was_training = teacher.training
    teacher.eval()
    if params.chain == "data":
        points = data_points(teacher, schedule, x0, noise, t, depth)
    elif chain is not None:
        points = base_points(teacher, chain, x, t, depth, loss)
    else:
        points = ddim_points(teacher, schedule, x, t, depth)
    teacher.train(was_training)
    return points


@dataclass(frozen=True)
class Pool:
    """Training images [N,C,H,W] in [-1, 1], drawn with replacement, so that a set smaller than a batch trains too."""

    pixels: Tensor
    weights: Tensor
    flip: bool

    @classmethod
    def of(cls, params: TrainParams, images: ImageSet, grey: GreyMap) -> Pool:
        """The images of a set, defect images weighted. Raises DataError for a weight without a domain."""
        pixels = grey.forward(np.asarray(images.images))
        weights = torch.ones(len(pixels))
        if params.defect_weight != 1:
            if images.domain is None:
                raise DataError("defect_weight needs images that know their domain; leave it at 1 or label the images")
            weights[torch.from_numpy(np.asarray(images.domain)) == 1] = params.defect_weight
        return cls(pixels, weights, params.flip)

    def batch(self, size: int, draw: torch.Generator) -> Tensor:
        """`size` images, flipped at random where wanted."""
        batch = self.pixels[torch.multinomial(self.weights, size, replacement=True, generator=draw)]
        if self.flip:
            turned = torch.rand(size, generator=draw) < 0.5
            batch = torch.where(turned[:, None, None, None], batch.flip(-1), batch)
        return batch


def optimizer_for(
    net: nn.Module, steps: int, lr: float, decay: float, cycle_momentum: bool
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.OneCycleLR]:
    """AdamW and a one-cycle schedule of exactly `steps` steps: 5 % warm-up from lr / 1e4, cosine down to lr / 1e8.

    The per-label step scales are spared the decay, which would pull every step to half its cap.
    """
    scales = [p for n, p in net.named_parameters() if p.requires_grad and n.endswith("scale.weight")]
    others = [p for n, p in net.named_parameters() if p.requires_grad and not n.endswith("scale.weight")]
    split: list[dict[str, Any]] = [{"params": others, "weight_decay": decay}]
    if scales:
        split.append({"params": scales, "weight_decay": 0.0})
    optimizer = torch.optim.AdamW(split, lr=lr, fused=True)
    total = max(steps, 4)  # of fewer, torch divides by the zero length of a phase
    warm_up = max(0.05, 2 / total)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, lr, total_steps=total, pct_start=warm_up, div_factor=1e4, final_div_factor=1e4, cycle_momentum=cycle_momentum
    )
    return optimizer, cycle


def descend(
    loss: Tensor, net: nn.Module, optimizer: torch.optim.Optimizer, cycle: torch.optim.lr_scheduler.LRScheduler, clip: float
) -> None:
    """One optimizer step with clipped gradients; the schedule moves with it."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(trainable(net), clip)
    optimizer.step()
    cycle.step()


def trainable(net: nn.Module) -> Iterable[nn.Parameter]:
    """Parameters that gradients reach."""
    return [p for p in net.parameters() if p.requires_grad]
