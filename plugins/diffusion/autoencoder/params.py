"""Parameters of `autoencoder`: what its tasks take, with defaults."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fabloom.params import Params, Precision


class TrainParams(Params):
    """Training. The defaults suit some hundred images on a CPU, with defects of 8 px and more: two latent pixels."""

    channels: tuple[int, ...] = Field(
        (16, 32, 32), min_length=1, description="width of each level; all but the first halve the image, so three shrink it by 4 "
        "(published 128, 256, 512)"
    )  # fmt: skip
    latent_channels: int = Field(4, ge=1, description="channels of a latent (published 3 or 4)")
    layers: int = Field(1, ge=1, description="residual blocks a level (published 2)")
    norm_groups: int = Field(8, ge=1, description="groups of the group norms; must divide every width (published 32)")
    steps: int = Field(2000, ge=0, description="optimizer steps")
    batch: int = Field(16, ge=1, description="images, or windows of them, an optimizer step")
    crop: int | None = Field(64, ge=8, description="train on random windows of so many pixels of larger images; null: on whole images")
    lr: float = Field(2e-3, gt=0, description="learning rate after the warm-up (published 4.5e-6 an image of a batch)")
    warmup: int = Field(100, ge=0, description="steps over which the learning rate rises from 0")
    grad_clip: float = Field(1.0, gt=0, description="largest gradient norm")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="decay of the weight average that the model keeps, after its warm-up")
    kl_weight: float = Field(1e-4, ge=0, description="weight of a latent value's mean divergence from the normal (published 1e-6, of sums)")
    edge_weight: float = Field(1.0, ge=0, description="weight of the difference of neighbouring pixels' differences: edges stay sharp")
    lpips_weight: float = Field(0.0, ge=0, description="weight of LPIPS, whose trunk must be at hand (published 1)")
    lpips_net: Literal["squeeze", "alex", "vgg"] = Field("squeeze", description="its trunk (published vgg)")
    precision: Precision = "auto"


class EvaluateParams(Params):
    """What comes back of images that were not trained on."""

    margin: int = Field(3, ge=0, description="pixels around a defect that count as neither defect nor background")
    shown: int = Field(8, ge=1, description="images in the picture")
