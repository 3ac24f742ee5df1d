"""Parameters that SinDiffusion and SinFusion share: a diffusion model of one image at its full size, no pyramid. Light, for planning."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from fabloom.params import Params, Precision

SMALLEST = 16
"""Fewest pixels of the short side of a training image and of an output."""


class SingleTraining(Params):
    """Training on one image. Subclass it with a `preset`, the fields that differ, and the shape of the network."""

    image: int | None = Field(None, ge=0, description="row of the training image; left out: the only image, or the only one with a defect")
    steps: int = Field(3000, ge=0, description="optimizer steps (published 50,000)")
    batch: int = Field(1, ge=1, description="views of the image a step")
    lr: float = Field(1e-3, gt=0, description="learning rate of Adam")
    decay: Literal["cosine", "constant"] = Field("cosine", description="course of the learning rate (published constant)")
    ema_decay: float = Field(0.995, ge=0, lt=1, description="decay of the average of the weights, which is what samples; 0: no average")
    ema_warmup: bool = Field(True, description="the average begins short, as a short training needs (published false)")
    times: int = Field(50, ge=2, le=1000, description="noise levels T")
    window: int | None = Field(
        96, ge=SMALLEST, description="views are random windows of at most so many pixels each way: cheaper on large images (published null)"
    )
    max_pixels: int | None = Field(None, ge=SMALLEST**2, description="a larger image is shrunk to this many pixels first; null: never")
    stretch: bool = Field(
        True, description="map the image's own grey range to [-1, 1]; off (published): 0..255, of which the line pair spans 27 levels"
    )  # fmt: skip
    precision: Precision = "auto"


class SingleSampling(Params):
    """Sampling, any size."""

    count: int = Field(200, ge=1, description="images")
    size: tuple[int, int] | None = Field(None, description="height and width of the output; null is that of the training image")
    scheduler: Literal["ddpm", "ddim"] = Field("ddpm", description="ddpm: fresh noise in every step (published); ddim: none, for few steps")
    steps: int | None = Field(None, ge=1, description="steps from noise to image; null: every level that was trained (published)")
    batch: int = Field(16, ge=1, description="images generated at once; fewer where they hold more than a million pixels together")
    precision: Precision = "auto"

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.size is not None and min(self.size) < SMALLEST:
            raise ValueError(f"size: height and width must be at least {SMALLEST}, not {self.size}")
        return self
