"""A network that denoises, U-Net or transformer: built from parameters, kept in a model, and read from one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from diffusers import UNet2DModel
from torch import Tensor, nn

from fabloom.errors import DataError
from fabloom.kinds import Model

from . import dit, unet2d
from .backbone import Backbone, Network
from .dit import Dit

Denoiser: TypeAlias = UNet2DModel | Dit


def build(
    params: Backbone, network: Network, image: tuple[int, int, int], classes: int = 0, *, second_time: bool = False, film: bool = False
) -> Denoiser:
    """The network that parameters ask for, with random weights, for images [C,H,W]; a transformer scales and shifts with or without `film`.

    Raises DataError where they do not fit.
    """
    if params.backbone == "dit":
        return dit.build(params.transformer, image, classes, second_time=second_time)
    return unet2d.build(network, image, classes, second_time=second_time, film=film)


def kept(net: Denoiser, state: dict[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What a model keeps of a network with this state: its tensors, and its shape for the config."""
    name, shape = ("dit", net.stored()) if isinstance(net, Dit) else ("unet", unet2d.config_of(net))
    return {f"{name}.{key}": value for key, value in state.items()}, {name: shape}


def anew(net: Denoiser) -> Denoiser:
    """Another of the same shape, with the same weights."""
    made = Dit(net.shape) if isinstance(net, Dit) else UNet2DModel.from_config(net.config)
    made.load_state_dict(net.state_dict())
    return made


def load(model: Model, role: str, device: torch.device) -> Denoiser:
    """The network of a model in evaluation mode. Raises DataError for a model of another method, which `role` in its config says."""
    config = model.config
    if config.get("role") != role:
        raise DataError(f"model {model.key[:12]} is no model of {role}.train (role '{config.get('role')}')")
    net: nn.Module = Dit.of(config["dit"]) if "dit" in config else UNet2DModel.from_config(config["unet"])
    net.load_state_dict(model.state("dit." if "dit" in config else "unet."))
    return net.to(device).eval().requires_grad_(False)


def evaluate(net: Callable[..., Any], x: Tensor, t: Tensor, labels: Tensor | None) -> Tensor:
    """The network's output [B,C,H,W] float32 for x [B,C,H,W] at times t [B], with class numbers [B] or None."""
    out: Tensor = net(x, t, class_labels=labels).sample
    return out.float()
