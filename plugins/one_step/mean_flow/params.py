"""Parameters of `mean-flow`: what its tasks take, with defaults."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fabloom.params import Params, Precision
from fabloom.plugins.blocks.backbone import Backbone, Network


class TrainParams(Backbone):
    """Training. The defaults suit some hundred 32 x 32 images on a CPU."""

    network: Network = Field(Network(), description="shape of the U-Net")
    steps: int = Field(2000, ge=0, description="optimizer steps")
    batch: int = Field(32, ge=2, description="images an optimizer step (published 256)")
    lr: float = Field(1e-3, gt=0, description="learning rate after the warm-up (published 1e-4)")
    warmup: int = Field(100, ge=0, description="steps over which the learning rate rises from 0")
    decay: Literal["constant", "cosine"] = Field("cosine", description="course of the learning rate after the warm-up (published constant)")
    weight_decay: float = Field(0.0, ge=0, description="AdamW decay (published 0)")
    grad_clip: float = Field(1.0, gt=0, description="largest gradient norm")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="decay of the weight average, after its warm-up (published 0.9999)")
    instant: float = Field(
        0.75,
        ge=0,
        le=1,
        description="share of a batch with r = t, which is ordinary flow matching and needs no derivative (published 0.75)",
    )
    time_mean: float = Field(-0.4, description="mean of the normal whose sigmoid the times are (published -0.4)")
    time_deviation: float = Field(1.0, gt=0, description="its standard deviation (published 1)")
    power: float = Field(
        1.0, ge=0, le=1, description="p of the weight 1 / (error + 1e-3)^p of an image; 0 is the plain squared error (published 1)"
    )
    time_unit: float = Field(
        10.0, gt=0, description="factor of times before their embedding: the derivative by t grows with it, and so does its noise"
    )
    flip_x: bool = Field(False, description="mirror half of the images left-right; only where that is another valid image")
    flip_y: bool = Field(False, description="mirror half of the images top-bottom")


class SampleParams(Params):
    """Sampling."""

    count: int = Field(1000, ge=1, description="images")
    batch: int = Field(128, ge=1, description="images computed at once")
    steps: int = Field(1, ge=1, le=1000, description="network evaluations an image (published 1)")
    precision: Precision = "auto"
