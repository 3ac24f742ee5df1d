"""How a denoiser is trained, as parameters of a task. Light, since `fabloom plan` reads it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from fabloom.params import Precision

from .backbone import Backbone, Network


class Denoising(Backbone):
    """Training of a network that takes noise away. The defaults suit some hundred 32 x 32 images on a CPU."""

    network: Network = Field(Network(), description="shape of the U-Net")
    steps: int = Field(2000, ge=0, description="optimizer steps (published 800,000 for CIFAR-10)")
    batch: int = Field(32, ge=1, description="images an optimizer step (published 128)")
    micro_batch: int | None = Field(None, ge=1, description="images held at once; gradients add up to those of the whole batch")
    lr: float = Field(1e-3, gt=0, description="learning rate after the warm-up (published 2e-4)")
    warmup: int = Field(100, ge=0, description="steps over which the learning rate rises from 0 (published 5000)")
    decay: Literal["constant", "cosine"] = Field("cosine", description="course of the learning rate after the warm-up (published constant)")
    weight_decay: float = Field(1e-4, ge=0, description="AdamW decay")
    grad_clip: float = Field(1.0, gt=0, description="largest gradient norm (published 1)")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="decay of the weight average, after its warm-up (published 0.9999)")
    prediction: Literal["epsilon", "v_prediction", "sample"] = Field(
        "v_prediction", description="what the network predicts: noise, velocity or clean image (published epsilon)"
    )
    schedule: Literal["linear", "scaled_linear", "cosine"] = Field("linear", description="noise schedule (published linear)")
    beta_start: float = Field(1e-4, gt=0, lt=1, description="first beta of linear and scaled_linear")
    beta_end: float = Field(0.02, gt=0, lt=1, description="last beta of linear and scaled_linear")
    min_snr: float | None = Field(5.0, gt=0, description="gamma of min-SNR loss weights (Hang et al. 2023); None weighs all times equally")
    label_dropout: float = Field(0.1, ge=0, le=1, description="share of labels hidden in training, for classifier-free guidance")
    flip_x: bool = Field(False, description="mirror half of the images left-right; only where that is another valid image")
    flip_y: bool = Field(False, description="mirror half of the images top-bottom")
    precision: Precision = "auto"

    @model_validator(mode="after")
    def _betas(self) -> Self:
        if self.beta_start >= self.beta_end:
            raise ValueError(f"beta_start={self.beta_start} must be below beta_end={self.beta_end}")
        return self
