"""The network: built, padded to what its encoder can halve, loaded from a model."""

from __future__ import annotations

from typing import Any

import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from fabloom.artifacts import Model
from fabloom.errors import DataError, did_you_mean


def build(encoder: str, depth: int, decoder_channels: tuple[int, ...], in_channels: int) -> nn.Module:
    """A U-Net with random weights, one logit a pixel. Nothing is downloaded. Raises DataError for an encoder that does not fit."""
    try:
        net: nn.Module = smp.Unet(
            encoder, encoder_depth=depth, decoder_channels=decoder_channels, encoder_weights=None, in_channels=in_channels, classes=1
        )
    except KeyError:
        raise DataError(f"encoder '{encoder}' is not known.{did_you_mean(encoder, smp.encoders.get_encoder_names())}") from None
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise DataError(f"encoder '{encoder}' cannot be built with depth={depth}: {error}. Take another encoder or depth.") from error
    return net


def logits(net: nn.Module, x: Tensor, depth: int) -> Tensor:
    """Logits [B,H,W] of x [B,C,H,W] for any H and W: padded at the far edges to a multiple of 2^depth, and cut again."""
    height, width = x.shape[-2:]
    unit = 2**depth
    padded = pad(x, (0, -width % unit, 0, -height % unit), mode="replicate")
    out: Tensor = net(padded)
    return out[:, 0, :height, :width]


def load(model: Model, device: torch.device) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a trained model in evaluation mode, and its config. Raises DataError for a model of another method."""
    config = model.config
    if config.get("role") != "unet":
        raise DataError(f"model {model.key[:12]} is no segmenter (role '{config.get('role')}'); give one of unet.train")
    net = build(config["encoder"], config["depth"], tuple(config["decoder_channels"]), config["image"][0])
    net.load_state_dict(model.state("net."))
    return net.to(device).eval().requires_grad_(False), config
