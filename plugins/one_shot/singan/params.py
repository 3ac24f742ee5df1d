"""Parameters of `singan`: what its tasks take, with defaults and presets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fabloom.plugins.blocks.adversarial_params import AdversarialSampling, AdversarialTraining
from fabloom.plugins.blocks.scale_params import filled

PUBLISHED: dict[str, Any] = {
    "iterations": 2000, "lr": 5e-4, "critic_steps": 3, "generator_steps": 3, "inputs": 0, "stretch": False, "max_pixels": 62_500,
    "growing": True, "norm": "batch",
}  # fmt: skip
TRAIN_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "small": {},
    "published": PUBLISHED,
    "parity": {**PUBLISHED, "twin": "redrawn"},
}


class TrainParams(AdversarialTraining):
    """Training on one image. The defaults are the preset `small`: some 7 CPU minutes for 96 x 96."""

    preset: Literal["small", "published", "parity"] = Field(
        "small",
        description="fills in what is left out. small: 300 iterations a scale, one step of the critic in each, at a higher rate, no norms, "
        "stretched grey levels; published: the paper's network and 2000 iterations of 3 and 3; parity: published with the noise that shall "
        "give the image drawn anew in every step, as in the released code",
    )
    ratio: float = Field(0.75, ge=0.4, le=0.9, description="about the ratio of neighbouring scales (published 0.75)")
    width: int = Field(32, ge=1, description="channels of the layers (published 32)")
    growing: bool = Field(False, description="twice as many channels after every fourth scale, 128 at most (published)")
    norm: Literal["batch", "none"] = Field("none", description="batch norm after every convolution (published), or none")
    twin: Literal["fixed", "redrawn"] = Field(
        "fixed", description="the coarsest noise that shall give the image: one, as in the paper, or another in every step (released code)"
    )

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        return filled(TRAIN_PRESETS, given)


class SampleParams(AdversarialSampling):
    """Sampling: one pass through the generators."""

    start: int = Field(
        0, ge=0, description="scale from which noise is drawn, 0 the coarsest; below it all samples are the training image, rebuilt. Where "
        "`composite` is connected: the scale at which the composites enter, 1 or more; higher changes less"
    )  # fmt: skip

    @model_validator(mode="after")
    def _check_start(self) -> Self:
        if self.size is not None and self.start:
            raise ValueError("start: scales below it are the training image in its own size; leave out size, or start at 0")
        return self
