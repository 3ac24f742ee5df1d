"""Parameters of `ddpm`: what its tasks take, with defaults and presets."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from fabloom.params import Params, Precision
from fabloom.plugins.blocks.backbone import TIMES
from fabloom.plugins.blocks.denoising_params import Denoising


class TrainParams(Denoising):
    """Training. The defaults suit some hundred 32 x 32 images on a CPU."""

    classes: Literal["none", "labels", "domain"] = Field("none", description="condition on the set's labels or on clean/defect")


class SampleParams(Params):
    """Sampling."""

    count: int = Field(1000, ge=1, description="images")
    batch: int = Field(128, ge=1, description="images computed at once")
    scheduler: Literal["ddpm", "ddim", "dpm++", "euler", "euler-ancestral"] = Field(
        "dpm++", description="dpm++: DPM-Solver++ of order 2 (Lu et al. 2022); ddpm and euler-ancestral draw noise at every step"
    )
    steps: int = Field(20, ge=1, le=TIMES, description="network evaluations an image (ddpm: published 1000)")
    clip: bool = Field(True, description="clip the predicted clean image to the grey range at every step; latents are not")
    labels: tuple[str, ...] = Field((), description="classes to draw, by name, in turn; empty draws all classes in turn")
    guidance_scale: float = Field(1.0, ge=0, description="classifier-free guidance: 1 none, 0 ignores the class, above 1 exaggerates it")
    precision: Precision = "auto"

    @model_validator(mode="after")
    def _whole_strides(self) -> Self:
        if self.scheduler == "ddim" and TIMES % self.steps:
            near = [n for n in range(1, TIMES + 1) if TIMES % n == 0]
            below, above = max(n for n in near if n < self.steps), min(n for n in near if n > self.steps)
            raise ValueError(f"ddim strides evenly through {TIMES} times: steps={self.steps} must divide it; "
                             f"take {below} or {above}, or another scheduler")  # fmt: skip
        return self
