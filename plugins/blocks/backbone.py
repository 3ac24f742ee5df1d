"""Shape of the U-Net that diffusion models here have in common, as a parameter of their tasks. Light, since `fabloom plan` reads it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fabloom.params import Params


class Network(Params):
    """Shape of the `UNet2DModel`. `preset` fills in what is left out."""

    preset: Literal["small", "cifar10"] = Field(
        "small",
        description="small: channels 16, 32, 64, one block, norm_groups 8, attention in the middle (636,465 parameters for 1 channel); "
        "cifar10: the published 128, 256, 256, 256, two blocks, attention at 16 x 16 (35,746,307 parameters for 3 channels)",
    )
    channels: tuple[int, ...] | None = Field(None, min_length=1, description="width of each level; all but the first halve the image")
    layers: int | None = Field(None, ge=1, description="residual blocks a level")
    attention: tuple[int, ...] | None = Field(None, description="levels with self-attention, counted from the image, 0 first")
    head_channels: int | None = Field(None, ge=1, description="width of an attention head; None is one head over all channels")
    norm_groups: int | None = Field(None, ge=1, description="groups of the group norms; must divide every width")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout in the residual blocks (published 0.1 for CIFAR-10)")
