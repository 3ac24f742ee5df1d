"""Parameters of `gpnn`: what its tasks take, with defaults and presets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from fabloom.plugins.blocks.patch_params import RELEASED, PatchSampling, PatchTraining
from fabloom.plugins.blocks.scale_params import filled

PUBLISHED: Mapping[str, Any] = {**RELEASED, "noise": 0.75}
SAMPLE_PRESETS: Mapping[str, Mapping[str, Any]] = {"small": {}, "published": PUBLISHED, "parity": {**PUBLISHED, "contrast": "full"}}


class TrainParams(PatchTraining):
    """Which image, and its scales. Nothing is trained."""

    coarsest: int = Field(14, ge=3, description="heights shrink until one is at most this many pixels; the copy is freer where it is large")
    ratio: float = Field(0.75, ge=0.5, le=0.95, description="height of a scale over that of the next finer one, truncated to whole pixels")


class SampleParams(PatchSampling):
    """How patches are rearranged."""

    preset: Literal["small", "published", "parity"] = Field(
        "small",
        description="fills in what is left out. published: the published start, nearly without noise; parity: published with the contrast "
        "of the released code. Both are meant for training with `stretch: false`",
    )
    alpha: float | None = Field(
        0.005, gt=0, description="small: every patch of the image is wanted somewhere (completeness); null: each place takes its nearest"
    )
    iterations: int = Field(10, ge=1, description="searches at every scale but the coarsest, which has one; fewer where nothing changes")
    keys: Literal["blur", "coarser"] = Field(
        "blur", description="what is compared: each scale blurred by its own ratio, or the next coarser scale, and the coarsest as it is"
    )
    reduce: Literal["mean", "gauss"] = Field("mean", description="weights of overlapping patches: equal, or Gaussian of 1.7 pixels")
    contrast: Literal["kept", "full"] = Field(
        "kept", description="grey levels as they are, or each image's own range widened to all of -1..1 (released code)"
    )
    batch: int = Field(16, ge=1, description="images written at once; changes no image")

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        return filled(SAMPLE_PRESETS, given)
