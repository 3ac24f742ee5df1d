"""Parameters of `icddm`: what its tasks take, with defaults and presets."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from fabloom.plugins.blocks.backbone import Network
from fabloom.plugins.blocks.denoising_params import Denoising
from fabloom.plugins.blocks.domains.params import Found, Paired, Route, Varied

NO_LATENTS = (
    "what is known of an image is known of its pixels, and in latents it mixes with the rest; leave out the input autoencoder, "
    "or give given: 0"
)


class TrainParams(Denoising):
    """Training. The defaults suit some thousand images of 32 x 32 on a CPU."""

    network: Network = Field(Network(channels=(24, 48, 72)), description="shape of the U-Net")
    steps: int = Field(2500, ge=0, description="optimizer steps (published 100 epochs)")
    lr: float = Field(2e-3, gt=0, description="learning rate after the warm-up (published 1e-4)")
    ema_decay: float = Field(0.997, ge=0, lt=1, description="decay of the weight average, after its warm-up (published 0.999)")
    schedule: Literal["linear", "scaled_linear", "cosine"] = Field("cosine", description="noise schedule (published cosine)")
    min_snr: float | None = Field(None, gt=0, description="gamma of min-SNR loss weights (Hang et al. 2023); None weighs all times equally")
    label_dropout: float = Field(
        0.0, ge=0, le=1, description="share of domains hidden in training (published none); guidance above 1 needs some, 0.1 perhaps"
    )
    times: tuple[float, float] = Field(
        (0.05, 0.75), description="first and last of the times that are learned, as shares of all: no image is led farther (published 0, 1)"
    )
    fold: int = Field(
        2, ge=1, le=8, description="pixels each way that are folded into channels before the network sees an image, 2 for a quarter of "
        "its work; 1 folds none; latents are never folded"
    )  # fmt: skip
    given: int = Field(
        0, ge=0, description="last channels of an image that are known, 255 where it has anything and 0 elsewhere, as where a wafer has "
        "dies (wafer-map: 1): never noised, learned or changed, nor is the rest where they are 0"
    )  # fmt: skip
    held_out: float = Field(
        0.1, gt=0, lt=1, description="share of the clean images, four at least, that are not learned from: the threshold comes of them"
    )

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if not 0 <= self.times[0] < self.times[1] <= 1:
            raise ValueError(f"times={list(self.times)} must rise within 0..1")
        return self


class DetectParams(Route, Found):
    """The way to the clean estimate, and when it differs."""

    noise: Literal["own", "random"] = Field(
        "own", description="own: an image is led to the noise that its flow gives it; random: noise is drawn onto it, whatever it shows "
        "(the baseline AnoDDPM, Wyatt et al. 2022)"
    )  # fmt: skip


class PairParams(Route, Paired):
    """The way to an image's twin."""


class AugmentParams(Route, Varied):
    """The way to other images with a defect."""

    fresh: float = Field(0.3, ge=0, le=1, description="share of the variance of the noise that is drawn anew, so that others come out")
