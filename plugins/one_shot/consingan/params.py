"""Parameters of `consingan`: what its tasks take, with defaults and presets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from fabloom.plugins.blocks.adversarial_params import AdversarialSampling, AdversarialTraining
from fabloom.plugins.blocks.scale_params import filled

TRAIN_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "small": {},
    "published": {
        "iterations": 2000, "lr": 5e-4, "critic_steps": 3, "generator_steps": 3, "inputs": 0, "stretch": False, "max_pixels": 62_500,
        "width": 64, "depth": 3,
    },
}  # fmt: skip


class TrainParams(AdversarialTraining):
    """Training on one image. The defaults are the preset `small`: some 5 CPU minutes for 96 x 96."""

    preset: Literal["small", "published"] = Field(
        "small",
        description="fills in what is left out. small: 300 iterations a stage, one step of the critic in each, half the "
        "channels, two bodies that learn, stretched grey levels; published: the paper's network and 2000 iterations of 3 and 3",
    )
    lr: float = Field(
        5e-4,
        gt=0,
        description="Adam learning rate of critic and generator (published 5e-4), a tenth in the last fifth; at 2e-3 some seeds fail",
    )
    goal: Literal["generate", "harmonise", "edit"] = Field(
        "generate",
        description="what the generator starts from. generate: noise; harmonise: the image with other contrast, grey levels and noise; "
        "edit: the image with pieces of it put elsewhere. The latter two are for sampling with `composite`, and for nothing else",
    )
    stages: int = Field(6, ge=3, le=12, description="sizes that the generator grows through (published 6)")
    width: int = Field(32, ge=1, description="channels of the layers (published 64: 668,227 parameters in colour)")
    depth: int = Field(2, ge=1, description="bodies that learn together, the newest and those before it (published 3); the others stay")
    lr_scale: float = Field(
        0.1,
        gt=0,
        le=1,
        description="learning rate of a body over that of the next newer one (published 0.1; 0.5 keeps nearer to the image)",
    )

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        return filled(TRAIN_PRESETS, given)


class SampleParams(AdversarialSampling):
    """Sampling: one pass through the generator."""

    start: int = Field(
        0, ge=0, description="with `composite`: stage in whose size it enters, 0 the coarsest; higher keeps more of it, and changes less"
    )  # fmt: skip
