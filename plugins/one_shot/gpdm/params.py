"""Parameters of `gpdm`: what its tasks take, with defaults and presets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from fabloom.plugins.blocks.patch_params import RELEASED, PatchSampling, PatchTraining
from fabloom.plugins.blocks.scale_params import filled

PUBLISHED: Mapping[str, Any] = {"steps": 300, "lr": 0.01}
SAMPLE_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "small": {},
    "published": PUBLISHED,
    "parity": {**PUBLISHED, **RELEASED, "noise": 1.5, "settle": 0.0, "pooled": True},
}


class TrainParams(PatchTraining):
    """Which image, and its scales. Nothing is trained."""

    coarsest: int = Field(
        21, ge=3, description="heights shrink until one is at most this many pixels; the fewer patches wide, the nearer to a copy"
    )
    ratio: float = Field(0.85, ge=0.5, le=0.95, description="height of a scale over that of the next finer one, truncated to whole pixels")


class SampleParams(PatchSampling):
    """How pixels are optimised."""

    preset: Literal["small", "published", "parity"] = Field(
        "small",
        description="fills in what is left out. small: 100 steps of 0.03 a scale; published: 300 of 0.01; parity: published with the "
        "start, the constant rate and the pooled patches of the released code, for training with `stretch: false`",
    )
    projections: int = Field(64, ge=1, description="random directions of a step, in which patches are compared")
    steps: int = Field(100, ge=1, description="steps of Adam at every scale (published 300)")
    lr: float = Field(0.03, gt=0, description="learning rate in units of -1..1 (published 0.01)")
    settle: float = Field(
        0.2, ge=0, le=1, description="share of a scale's steps in which the rate falls to 0; 0 (released code): a jitter of its size stays"
    )
    pooled: bool = Field(
        False, description="the patches of all images of a batch are one distribution (released code), so that only together they match"
    )
    batch: int = Field(
        8, ge=1, description="images optimised at once; changes images by rounding only, unless their patches are `pooled`"
    )  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        return filled(SAMPLE_PRESETS, given)
