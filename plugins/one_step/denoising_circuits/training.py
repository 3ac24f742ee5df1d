"""Training a circuit: the base U-Net first where none is given, then the stages of the recurrence."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from diffusers import UNet2DModel
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.ema import ema
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.noise import NoiseSchedule

from .backbone import load_backbone, share_frozen
from .base import BaseNet, given_base, train_base
from .base import velocity as v_of
from .losses import Points, Weights, base_points, circuit_loss, data_points, ddim_points
from .networks import Adapter, Circuit, CircuitConfig, Head
from .params import Stage, TrainParams


def train(ctx: Context, params: TrainParams, images: ImageSet, base: Model | None) -> Model:
    """The task `train`: weights are the averaged ones."""
    source = given_base(params, images, base)
    grey = source.grey if source is not None and source.grey is not None else GreyMap.fit(np.asarray(images.images))
    pool = Pool.of(params, images, grey)
    pixels = pool.pixels
    schedule = NoiseSchedule.make(params.timesteps, params.schedule)
    if source is None:
        source = train_base(ctx, params, pool, schedule)
    circuit = build(params, source, pixels.shape[1])
    if params.carry and source.prediction == "v_prediction":
        start_as_ddim(circuit, source, schedule, pixels)
    circuit.to(ctx.device)
    velocity = base_velocity(source, circuit, ctx.device) if params.chain == "base" else None
    average = ema(circuit, params.ema_decay)
    for number, stage in enumerate(params.stages):
        run_stage(ctx, params, stage, f"stage{number}", circuit, average, pool, schedule, velocity)
    config = {
        "role": "teacher",
        "circuit": circuit.config.as_json(),
        "schedule": params.schedule,
        "grey": [grey.low, grey.high],
        "image": list(pixels.shape[1:]),
    }
    return Model.write(ctx, {f"circuit.{name}": value for name, value in unique_state(average.module).items()}, config)


def build(params: TrainParams, base: BaseNet, image_channels: int) -> Circuit:
    """A circuit whose Rin and R both start from the base; frozen tensors are held once."""
    config = CircuitConfig(
        unet=base.config,
        # the base's own time values for our labels: both subsample one schedule, so these are the same noise levels
        labels=tuple(torch.linspace(0, base.timesteps - 1, params.timesteps).round().long().tolist()),
        image_channels=image_channels,
        patch=base.patch,
        **{name: getattr(params, name) for name in CARRIED},
    )
    circuit = Circuit(config)
    load_backbone(circuit.rin.unet, base.state)
    load_backbone(circuit.step.unet, base.state)
    share_frozen(circuit.rin.unet, circuit.step.unet)
    return circuit


def start_as_ddim(circuit: Circuit, base: BaseNet, schedule: NoiseSchedule, pixels: Tensor) -> None:
    """Let R begin as the base's DDIM step on the carried pixels, and the heads as readers of what is carried.

    With x_t = cos(p) x_0 + sin(p) n and v = cos(p) n - sin(p) x_0 the step is x_{t-1} = cos(d) x_t - sin(d) v, d = p_t - p_{t-1}
    (Salimans & Ho 2022). Normed pixels drop the scale: z' = GN(z - tan(d) / std(x_t) v), so the step scale of label t is
    tan(d) / std(x_t) and the last convolution of the base, negated, gives the direction. The latent begins with the pixels and,
    after them, the base's v; X0out reads the first at label 0, Rout the second.
    """
    config, step = circuit.config, circuit.step
    own, width, spread = config.pixels, config.unet["block_out_channels"][0], float(pixels.std())
    angle = torch.atan2(schedule.sigma, schedule.alpha)
    std = (schedule.alpha**2 * spread**2 + schedule.sigma**2).sqrt()
    scale = torch.zeros_like(angle)
    scale[1:] = (angle[1:] - angle[:-1]).tan() / std[1:]
    weight, bias = base.state["conv_out.weight"], base.state["conv_out.bias"]
    both = min(own, config.latent_channels - own)
    with torch.no_grad():
        step.scale.weight.copy_(torch.logit((scale / config.residual_cap).clamp(0.02, 0.98))[:, None])
        inlet, inlet_bias = bypass_of(step.inlet)
        inlet[:, :own].copy_(base.state["conv_in.weight"])
        inlet_bias.copy_(base.state["conv_in.bias"])
        outlet, outlet_bias = bypass_of(step.outlet)
        outlet[:own, :width].copy_(-weight)
        outlet_bias[:own].copy_(-bias)
        encoder, encoder_bias = bypass_of(circuit.rin.adapter)
        encoder[:both].copy_(weight[:both])
        encoder_bias[:both].copy_(bias[:both])
        image, image_bias = bypass_of(circuit.x0_head)
        image[range(own), range(own), 1, 1] = spread
        image_bias.fill_(float(pixels.mean()))
        bypass_of(circuit.v_head)[0][range(both), range(own, own + both), 1, 1] = float(std.mean())


def bypass_of(part: Adapter | Head) -> tuple[Tensor, Tensor]:
    """Weight and bias of the plain convolution that a carried circuit has beside an adapter or in a head."""
    if part.bypass is None or part.bypass.bias is None:
        raise ValueError("only a circuit that carries its pixels has a bypass")
    return part.bypass.weight, part.bypass.bias


def base_velocity(base: BaseNet, circuit: Circuit, device: torch.device) -> Velocity:
    """v(x, t) of the base, for the targets of the chain."""
    if base.prediction != "v_prediction":
        raise DataError(f"chain='base' needs a base that predicts v, this one predicts {base.prediction}: use chain='live'")
    unet = UNet2DModel.from_config(base.config)
    unet.load_state_dict(base.state)
    unet.to(device).eval().requires_grad_(False)
    times = torch.tensor(circuit.config.labels, device=device)
    return lambda x, t: v_of(unet, x, times[t], circuit.config.patch, circuit.config.carry)


Velocity = Callable[[Tensor, Tensor], Tensor]

CARRIED = (
    "latent_channels", "rin_blocks", "step_blocks", "head_blocks", "head_width", "residual_cap", "carry", "spectral", "time_features",
    "lora_rank", "lora_alpha", "train_backbone",
)  # fmt: skip


def unique_state(module: nn.Module) -> dict[str, Tensor]:
    """The state dict with tensors that two parts share held once, under the first name."""
    seen: dict[int, str] = {}
    return {name: value for name, value in module.state_dict().items() if seen.setdefault(value.data_ptr() or id(value), name) == name}


def load_circuit(model: Model, device: torch.device) -> Circuit:
    """The circuit of a teacher model, in evaluation mode. Needs nothing but the model."""
    circuit = Circuit(CircuitConfig.from_json(model.config["circuit"]))
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
    schedule: NoiseSchedule, velocity: Velocity | None,
) -> None:  # fmt: skip
    """One stage: fresh optimizer and one-cycle schedule, weights and average go on."""
    if not stage.steps:
        return
    trained = [p for p in circuit.parameters() if p.requires_grad]
    if stage.only_step:
        held = {id(p) for p in circuit.step.parameters()}
        for parameter in trained:
            parameter.requires_grad_(id(parameter) in held)
    optimizer, cycle = optimizer_for(circuit, stage.steps, stage.lr, params.weight_decay, params.cycle_momentum)
    draw = ctx.generator(name)
    probabilities = torch.tensor(stage.step_probs)
    weights = Weights(params.consistency_weight, params.x0_weight, stage.end_only)
    circuit.train()
    for step in ctx.loop(stage.steps, name=name, net=circuit, average=average, optimizer=optimizer, cycle=cycle):
        x0 = pool.batch(params.batch, draw).to(ctx.device)
        depth = int(torch.multinomial(probabilities, 1, generator=draw))
        t = torch.randint(depth, params.timesteps, (len(x0),), generator=draw).to(ctx.device)
        noise = torch.randn(x0.shape, generator=draw).to(ctx.device)
        x = schedule.add_noise(x0, noise, t)
        with ctx.autocast(params.precision):
            points = targets(params, circuit, average, schedule, velocity, x, x0, noise, t, depth, stage.end_only)
            loss, parts = circuit_loss(circuit, points, x0, schedule.velocity(x0, noise, t), x, t, depth, weights)
        descend(loss, circuit, optimizer, cycle, params.grad_clip)
        average.update_parameters(circuit)
        if step.index % LOG_EVERY == 0:
            step.log(loss=float(loss.detach()), **{part: float(value) for part, value in parts.items()})
    for parameter in trained:
        parameter.requires_grad_(True)


LOG_EVERY = 10


def targets(
    params: TrainParams, circuit: Circuit, average: AveragedModel, schedule: NoiseSchedule, velocity: Velocity | None, x: Tensor,
    x0: Tensor, noise: Tensor, t: Tensor, depth: int, end_only: bool,
) -> Points | None:  # fmt: skip
    """Where the chain should be, by the teacher that `params.chain` names, in evaluation mode."""
    if depth == 0:
        return None
    teacher: Circuit = average.module if params.chain == "ema" else circuit  # type: ignore[assignment]
    was_training = teacher.training
    teacher.eval()
    if params.chain == "data":
        points = data_points(teacher, schedule, x0, noise, t, depth)
    elif velocity is not None:
        points = base_points(teacher, velocity, schedule, x, t, depth, encoded=not end_only)
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
