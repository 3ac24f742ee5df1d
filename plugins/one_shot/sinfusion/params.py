"""Parameters of `sinfusion`: what its tasks take, with defaults and presets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from fabloom.plugins.blocks.scale_params import filled
from fabloom.plugins.blocks.single_params import SingleSampling, SingleTraining

PUBLISHED: Mapping[str, Any] = {
    "steps": 50_000, "batch": 1, "lr": 2e-4, "decay": "constant", "ema_decay": 0.0, "ema_warmup": False, "times": 50,
    "depth": 16, "width": 64, "crop": 0.95, "window": None, "stretch": False, "precision": "fp32",
}  # fmt: skip
TRAIN_PRESETS: Mapping[str, Mapping[str, Any]] = {"small": {}, "published": PUBLISHED}


class TrainParams(SingleTraining):
    """Training on one image. The defaults are the preset `small`."""

    preset: Literal["small", "published"] = Field(
        "small",
        description="fills in what is left out. small: a CPU setting with declared departures (a smaller network of 61 x 61 pixels' "
        "reach, averaged weights); published: the paper's network and 50,000 steps",
    )
    depth: int = Field(6, ge=2, multiple_of=2, description="blocks, of which each adds 10 pixels of reach (published 16)")
    width: int = Field(16, ge=4, multiple_of=2, description="channels (published 64)")
    crop: float = Field(
        0.95, gt=0, le=1, description="side of the square crops to learn from, over the image's short side (published 0.95)"
    )

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        return filled(TRAIN_PRESETS, given)


class SampleParams(SingleSampling):
    """Sampling, at any size."""
