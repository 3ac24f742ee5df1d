"""How a circuit begins: built on its base, with R as the base's DDIM step; and the base's finer chain, which R is held against."""

from __future__ import annotations

import math

import torch
from diffusers import UNet2DModel
from torch import Tensor

from fabloom.errors import DataError
from fabloom.kinds import Model
from fabloom.plugins.blocks.noise import NoiseSchedule, ScheduleName

from .backbone import load_backbone, share_frozen
from .base import BaseNet
from .base import velocity as v_of
from .losses import BaseChain
from .networks import Adapter, Circuit, CircuitConfig, Head
from .params import TrainParams

CARRIED = (
    "rin_blocks", "step_blocks", "head_blocks", "head_width", "residual_cap", "carry", "spectral", "time_features",
    "lora_rank", "lora_alpha", "train_backbone",
)  # fmt: skip


def build(params: TrainParams, base: BaseNet, image_channels: int) -> Circuit:
    """A circuit whose Rin and R both start from the base; frozen tensors are held once."""
    config = CircuitConfig(
        unet=base.config,
        # the base's own time values for our labels: both subsample one schedule, so these are the same noise levels
        labels=tuple(torch.linspace(0, base.timesteps - 1, params.timesteps).round().long().tolist()),
        image_channels=image_channels,
        patch=base.patch,
        turns=tuple(turns(params).tolist()),
        latent_channels=params.latent(image_channels * base.patch**2),
        **{name: getattr(params, name) for name in CARRIED},
    )
    if config.latent_channels < config.carried:
        raise DataError(f"the latent carries {config.carried} channels of pixels: give latent_channels of at least that, or carry: false")
    circuit = Circuit(config)
    load_backbone(circuit.step.unet, base.state)
    if circuit.rin.unet is not None:
        load_backbone(circuit.rin.unet, base.state)
        share_frozen(circuit.rin.unet, circuit.step.unet)
    return circuit


def turns(params: TrainParams) -> Tensor:
    """cos(d_t) of every label, float32 [T]: what a DDIM step from t to t-1 scales x_t by, d_t the angle between the two; 1 at label 0."""
    schedule = NoiseSchedule.make(params.timesteps, params.schedule)
    angle = torch.atan2(schedule.sigma, schedule.alpha)
    return torch.cat([torch.ones(1), angle.diff().cos()]).float()


def start_as_ddim(circuit: Circuit, base: BaseNet, schedule: NoiseSchedule) -> None:
    """Let R begin as the base's DDIM step on the carried pixels, exactly, and the heads as readers of what is carried.

    With x_t = cos(p) x_0 + sin(p) n and v = cos(p) n - sin(p) x_0 the step is x_{t-1} = cos(d) x_t - sin(d) v, d = p_t - p_{t-1}
    (Salimans & Ho 2022), which is cos(d) (x_t - tan(d) v): the turn of label t is cos(d), its step scale tan(d), and the last
    convolution of the base, negated, gives the direction. The latent begins with the pixels and, after them, the base's v; X0out reads
    the first at label 0, Rout the second. Raises DataError where the labels are so few that tan(d) is above the cap.
    """
    config, step = circuit.config, circuit.step
    own, width = config.pixels, config.unet["block_out_channels"][0]
    scale = torch.tan(torch.acos(torch.tensor(config.turns)))
    least = float(scale.max()) / LARGEST
    if least > config.residual_cap:
        raise DataError(
            f"with timesteps {config.timesteps} a DDIM step moves a latent by {float(scale.max()):.2f} of what the network says: "
            f"give residual_cap: {math.ceil(10 * least) / 10} or more timesteps"
        )
    weight, bias = base.state["conv_out.weight"], base.state["conv_out.bias"]
    both = min(own, config.latent_channels - own)
    with torch.no_grad():
        step.scale.weight.copy_(torch.logit((scale / config.residual_cap).clamp(min=SMALLEST))[:, None])
        inlet, inlet_bias = bypass_of(step.inlet)
        inlet[:, :own].copy_(base.state["conv_in.weight"])
        inlet_bias.copy_(base.state["conv_in.bias"])
        outlet, outlet_bias = bypass_of(step.outlet)
        outlet[:own, :width].copy_(-weight)
        outlet_bias[:own].copy_(-bias)
        if both:
            encoder, encoder_bias = bypass_of(circuit.rin.adapter)
            encoder[:both].copy_(weight[:both])
            encoder_bias[:both].copy_(bias[:both])
        image, _ = bypass_of(circuit.x0_head)
        image[range(own), range(own), 1, 1] = 1.0
        bypass_of(circuit.v_head)[0][range(both), range(own, own + both), 1, 1] = 1.0


LARGEST, SMALLEST = 0.98, 1e-4
"""Share of the cap that the sigmoid of a step scale can start at."""


def bypass_of(part: Adapter | Head) -> tuple[Tensor, Tensor]:
    """Weight and bias of the plain convolution that a carried circuit has beside an adapter or in a head."""
    if part.bypass is None or part.bypass.bias is None:
        raise ValueError("only a circuit that carries its pixels has a bypass")
    return part.bypass.weight, part.bypass.bias


def base_chain(base: BaseNet, config: CircuitConfig, schedule: ScheduleName, substeps: int, device: torch.device) -> BaseChain:
    """The base's DDIM chain between the labels of a circuit. Raises DataError for a base that does not predict v."""
    if base.prediction != "v_prediction":
        raise DataError(f"chain='base' needs a base that predicts v, this one predicts {base.prediction}: use chain='live'")
    unet = UNet2DModel.from_config(base.config)
    unet.load_state_dict(base.state)
    unet.to(device).eval().requires_grad_(False)
    times = torch.tensor(config.labels, device=device)
    full = NoiseSchedule.make(base.timesteps, schedule)
    return BaseChain(lambda x, t: v_of(unet, x, t, config.patch), full, times, substeps)


def chain_of(model: Model, device: torch.device) -> BaseChain | None:
    """The chain that a teacher was trained towards; None for one whose targets were not its base's."""
    config = model.config
    if "substeps" not in config:
        return None
    shape = CircuitConfig.from_json(config["circuit"])
    base = BaseNet(shape.unet, model.state("base."), shape.labels[-1] + 1, shape.patch)
    return base_chain(base, shape, config["schedule"], config["substeps"], device)
