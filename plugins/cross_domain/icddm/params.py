"""Parameters of `icddm`: what its tasks take, with defaults and presets."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from fabloom.plugins.blocks.backbone import Network
from fabloom.plugins.blocks.denoising_params import Denoising
from fabloom.plugins.blocks.domains.params import Found, Route

FARTHEST = 0.9
"""With prediction: epsilon the clean image is divided by a_t, which is next to nothing beyond this share of all times."""


class TrainParams(Denoising):
    """Training. The defaults suit some thousand images of 32 x 32 on a CPU."""

    network: Network = Field(Network(channels=(24, 48, 72)), description="shape of the U-Net")
    steps: int = Field(2500, ge=0, description="optimizer steps (published 100 epochs)")
    lr: float = Field(2e-3, gt=0, description="learning rate after the warm-up (published 1e-4)")
    ema_decay: float = Field(0.997, ge=0, lt=1, description="decay of the weight average, after its warm-up (published 0.999)")
    schedule: Literal["linear", "scaled_linear", "cosine"] = Field("cosine", description="noise schedule (published cosine)")
    min_snr: float | None = Field(None, gt=0, description="gamma of min-SNR loss weights (Hang et al. 2023); None weighs all times equally")
    label_dropout: float = Field(0.15, ge=0, le=1, description="share of domains hidden in training, for guidance")
    fold: int = Field(
        2, ge=1, le=8, description="pixels each way that are folded into channels before the network sees an image, 2 for a quarter of "
        "its work; 1 folds none; latents are never folded"
    )  # fmt: skip
    held_out: float = Field(
        0.1, gt=0, lt=1, description="share of the clean images, four at least, that are not learned from: the threshold comes of them"
    )


class DetectParams(Route, Found):
    """The way to the clean estimate, and when it differs."""

    @model_validator(mode="after")
    def _none_fresh(self) -> Self:
        if self.fresh:
            raise ValueError("fresh: detection takes the noise that the image has; leave it out")
        return self
