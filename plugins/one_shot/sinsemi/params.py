"""Parameters of `sinsemi`: what its tasks take, with defaults and presets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fabloom.params import Params, Precision
from fabloom.plugins.blocks.scale_params import PUBLISHED, ScaleTraining, filled

PUBLISHED_TRAIN: dict[str, Any] = {**PUBLISHED, "lr": 1e-4, "coarsest": 1, "prediction": "velocity", "time_unit": 1.0}
STEPS, FINER = 12, 8
"""Sampling steps of the coarsest scale and of each other in the preset `small`: these start from the image itself, only blurred."""
TRAIN_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "small": {},
    "published": PUBLISHED_TRAIN,
    "parity": {**PUBLISHED_TRAIN, "scales": "all but finest", "clamp": "positive", "normalise": "each", "quantise": True},
}
PUBLISHED_SAMPLE: dict[str, Any] = {"sampler": "paper", "steps": 300, "precision": "fp32"}
SAMPLE_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "small": {},
    "published": PUBLISHED_SAMPLE,
    "parity": {
        **PUBLISHED_SAMPLE, "sigma": 1.0, "guidance": {"strength": 1.0, "normalise": "batch", "coarse_reference": "frozen"},
    },
}  # fmt: skip


class TrainParams(ScaleTraining):
    """Training on one image. The defaults are the preset `small`: some 20 CPU minutes for 96 x 96."""

    preset: Literal["small", "published", "parity"] = Field(
        "small",
        description="fills in what is left out. small: a CPU setting with declared departures (anchor, windows, drift "
        "prediction); published: the paper's network and 120,000 iterations of batch 32; parity: published with the defects of the "
        "released code, for study",
    )
    steps: int = Field(3000, ge=0, description="optimizer steps (published 120,000)")
    coarsest: int = Field(
        2, ge=1, description="times that the coarsest scale is trained on for once of every other: it makes the image from noise, which is "
        "learnt long after the others' sharpening (published 1)"
    )  # fmt: skip
    lr: float = Field(2e-3, gt=0, description="Adam learning rate (published 1e-4)")
    grad_clip: float = Field(1.0, gt=0, description="largest gradient norm (published 1)")
    sigma: float = Field(0.35, gt=0, description="noise of the bridge (published 0.35)")
    prediction: Literal["velocity", "drift"] = Field(
        "drift",
        description="what the network predicts: the velocity u_t (published), or the drift (x_t - x0) / t, finite at t = 1",
    )
    clamp: Literal["signed", "positive"] = Field(
        "signed", description="velocity: bound |c(t)| <= 2 with its sign; positive is the released code's +2 also where c is negative"
    )
    time_unit: float = Field(1000.0, gt=0, description="factor of t before its embedding (published 1, which uses few frequencies)")
    scales: Literal["all", "all but finest"] = Field("all", description="scales that are trained; the released code forgets the finest one")
    normalise: Literal["finest", "each"] = Field(
        "finest",
        description="zero mean, unit deviation by the statistics of the finest scale, or of each image and recon (released code)",
    )
    area: float = Field(3000.0, gt=0, description="about the pixels of the coarsest scale (published 3000)")
    ratio: float = Field(1.4, gt=1, description="about the ratio of neighbouring scales (published 1.4)")

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        return filled(TRAIN_PRESETS, given)


class Guidance(Params):
    """LPIPS energy guidance towards the training image, or a reference. Strength 0 is none."""

    strength: float = Field(0.0, ge=0, description="lambda: length of the pull over that of the model's step along the flow (published 1)")
    net: Literal["squeeze", "alex", "vgg"] = Field("squeeze", description="trunk of LPIPS (published squeeze, also the paper's metric)")
    on: Literal["state", "clean"] = Field(
        "state",
        description="compare the state with the noised reference (published), or the predicted clean image with the clean one",
    )
    until: float = Field(1.0, gt=0, le=1, description="guide only at t below this; 0.7 suits `clean`, whose prediction is poor before")
    normalise: Literal["sample", "batch"] = Field(
        "sample", description="norms of gradient and step of each sample, or their means over the batch (published; depends on the batch)"
    )
    coarse_reference: Literal["fresh", "frozen"] = Field(
        "fresh", description="the noise end of the reference at the coarsest scale: drawn at every step, or one for all (released code)"
    )


class SampleParams(Params):
    """Sampling. The defaults are the preset `small`; `published` and `parity` are the paper's sampler as described and as released."""

    preset: Literal["small", "published", "parity"] = Field(
        "small", description="fills in what is left out. small: sde, 12 and finer 8 steps a scale; published: paper, 300 steps, "
        "sigma 0.35; parity: the released sampler, sigma 1, guidance 1 normalised over the batch"
    )  # fmt: skip
    count: int = Field(200, ge=1, description="images (published 1000)")
    batch: int = Field(16, ge=1, description="images generated at once; fewer where they hold more than a million pixels together")
    size: tuple[int, int] | None = Field(
        None, description="height and width of the output; null is the training image's, or that of the clean image that anchors it"
    )
    steps: int | tuple[int, ...] | None = Field(
        None,
        description="steps a scale, or one number for each scale, coarsest first (published 300); null: 12 at the coarsest, 8 at each "
        "other, fewer in proportion to the side at scales of more than 256 x 256 pixels, but a quarter",
    )
    sampler: Literal["sde", "ode", "paper"] = Field(
        "sde", description="sde: reverse bridge with its score; ode: probability flow, no noise; paper: velocity plus noise without score"
    )
    sigma: float = Field(0.35, ge=0, description="noise of the sampler `paper`: 0.35 in the text, 1.0 in the released code")
    guidance: Guidance = Field(Guidance(), description="LPIPS energy guidance")
    precision: Precision = "auto"

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, given: Any) -> Any:
        return filled(SAMPLE_PRESETS, given)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.steps is not None and min((self.steps,) if isinstance(self.steps, int) else self.steps, default=0) < 1:
            raise ValueError("steps: every scale needs one step or more")
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"size: height and width must be positive, not {self.size}")
        return self
