"""Shapes of the networks that diffusion models here have in common, as parameters of their tasks. Light, since `fabloom plan` reads it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from fabloom.params import Params

TIMES = 1000
"""Time values of every diffusion model, as published; a sampler takes as few of them as it likes."""


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


class Transformer(Params):
    """Shape of the diffusion transformer. `preset` fills in what is left out."""

    preset: Literal["small", "S", "B", "L", "XL"] = Field(
        "small",
        description="small: 6 blocks of width 128, 4 heads; as published S: 12, 384, 6; B: 12, 768, 12; L: 24, 1024, 16; XL: 28, 1152, 16",
    )
    patch: int = Field(4, ge=1, description="pixels of a token, each way (published 2, 4 or 8, in a latent)")
    blocks: int | None = Field(None, ge=1, description="transformer blocks")
    width: int | None = Field(None, ge=4, multiple_of=4, description="values of a token")
    heads: int | None = Field(None, ge=1, description="attention heads; must divide the width")


class Backbone(Params):
    """Which network a diffusion model learns: parameters that its training has beside its own."""

    backbone: Literal["unet", "dit"] = Field("unet", description="unet: shaped by `network`; dit: a transformer, shaped by `transformer`")
    transformer: Transformer = Field(Transformer(), description="shape of the transformer; with backbone: dit")

    @model_validator(mode="after")
    def _one_backbone(self) -> Self:
        other = {"unet": "transformer", "dit": "network"}[self.backbone]
        if getattr(self, other, None) not in (None, Network(), Transformer()):
            right = {"unet": "dit", "dit": "unet"}[self.backbone]
            raise ValueError(f"`{other}` changes nothing with backbone: {self.backbone}; leave it out, or give backbone: {right}")
        return self
