"""A U-Net as the network of a consistency function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fabloom.kinds import Model
from fabloom.plugins.blocks.denoisers import evaluate, load
from fabloom.plugins.blocks.noise import noise_schedule

from .function import Function, Network

ROLE = "consistency"


def network_of(unet: Callable[..., Any]) -> Network:
    """(x, t) to the U-Net's output."""

    def network(x: Tensor, t: Tensor) -> Tensor:
        return evaluate(unet, x, t, None)

    return network


def function_of(model: Model, device: torch.device, wrap: Callable[[Any], Any] = lambda unet: unet) -> Function:
    """The consistency function of a trained model; `wrap` sees its U-Net. Raises DataError for a model of another method."""
    unet, config = load(model, ROLE, device), model.config
    schedule = noise_schedule(config["schedule"], config["beta_start"], config["beta_end"])
    return Function(network_of(wrap(unet)), schedule, config["prediction_type"])
