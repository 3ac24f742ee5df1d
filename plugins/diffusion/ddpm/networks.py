"""The U-Net of a model."""

from __future__ import annotations

import torch
from diffusers import UNet2DModel
from torch import nn

from fabloom.errors import DataError
from fabloom.kinds import Model


def load(model: Model, device: torch.device) -> UNet2DModel:
    """The U-Net of a trained model in evaluation mode. Raises DataError for a model of another method."""
    config = model.config
    if config.get("role") != "ddpm":
        raise DataError(f"model {model.key[:12]} is no diffusion model (role '{config.get('role')}'); give one of ddpm.train")
    unet: nn.Module = UNet2DModel.from_config(config["unet"])
    unet.load_state_dict(model.state("unet."))
    return unet.to(device).eval().requires_grad_(False)
