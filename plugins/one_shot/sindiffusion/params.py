"""Parameters of `sindiffusion`: what its tasks take, with defaults and presets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fabloom.plugins.blocks.scale_params import filled
from fabloom.plugins.blocks.single_params import SMALLEST, SingleSampling, SingleTraining

PUBLISHED: Mapping[str, Any] = {
    "steps": 50_000, "batch": 16, "lr": 5e-4, "decay": "constant", "ema_decay": 0.9999, "ema_warmup": False, "times": 1000,
    "prediction": "epsilon", "base": 64, "mults": (1, 2, 4), "rescale": 0.25, "window": None, "max_pixels": 250 * 250, "stretch": False,
    "precision": "fp32",
}  # fmt: skip
TRAIN_PRESETS: Mapping[str, Mapping[str, Any]] = {"small": {}, "published": PUBLISHED}


class TrainParams(SingleTraining):
    """Training on one image. The defaults are the preset `small`."""

    preset: Literal["small", "published"] = Field(
        "small",
        description="fills in what is left out. small: a CPU setting with declared departures (the clean image predicted, a narrower "
        "network of 45 x 45 pixels' reach, 50 noise levels); published: the paper's network and 50,000 steps of batch 16",
    )
    prediction: Literal["epsilon", "sample"] = Field(
        "sample",
        description="what the network predicts: the noise (published; needs many steps, since its error is multiplied by up to 359 with "
        "50 levels), or the clean image",
    )
    base: int = Field(32, ge=32, multiple_of=32, description="channels of the finest level (published 64)")
    mults: tuple[int, ...] = Field(
        (1, 2), min_length=1, description="channels of the levels over `base`, each half as large as the one before (published 1, 2, 4): "
        "two levels see 45 x 45 pixels, three 101 x 101, which of a small image is all of it",
    )  # fmt: skip
    rescale: float = Field(
        0.25, ge=0, le=0.5, description="a view is the image, height and width stretched by independent random factors of at most so much "
        "more or less (published 0.25): the pitch of lines varies as much; 0: the image as it is",
    )  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        return filled(TRAIN_PRESETS, given)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if min(self.mults) < 1 or len(self.mults) > 4:
            raise ValueError(f"mults: one to four whole numbers from 1 up, since {SMALLEST} pixels are halved for each, not {self.mults}")
        return self


class SampleParams(SingleSampling):
    """Sampling, at any size."""

    padding: Literal["none", "zeros"] = Field(
        "none", description="what the network is given where sides are no multiples of 8: the state as it is, or zeros beside it "
        "(released code), which it never saw",
    )  # fmt: skip
