"""Parameters of `consistency`: what its tasks take, with defaults."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from fabloom.params import Params, Precision
from fabloom.plugins.blocks.backbone import TIMES, Backbone, Network


class TrainParams(Backbone):
    """Training. The defaults suit some hundred 32 x 32 images on a CPU."""

    network: Network | None = Field(
        None, description="shape of the U-Net, which then starts at random; null: the teacher's network and weights, without one `small`"
    )
    steps: int = Field(2000, ge=0, description="optimizer steps")
    batch: int = Field(32, ge=1, description="images an optimizer step (published 1024 without a teacher)")
    lr: float = Field(5e-4, gt=0, description="learning rate after the warm-up (published 1e-4 without a teacher)")
    warmup: int = Field(100, ge=0, description="steps over which the learning rate rises from 0")
    decay: Literal["constant", "cosine"] = Field("cosine", description="course of the learning rate after the warm-up (published constant)")
    grad_clip: float = Field(1.0, gt=0, description="largest gradient norm")
    ema_decay: float = Field(0.999, ge=0, lt=1, description="decay of the weight average that the model keeps, after its warm-up")
    target_decay: float = Field(0.95, ge=0, lt=1, description="decay of the average that gives a teacher's targets (published 0.95)")
    points: int = Field(50, ge=2, le=TIMES, description="with a teacher: times that it steps between (published 50)")
    first_points: int = Field(10, ge=1, description="without a teacher: times between which it is trained, at first (published 10)")
    last_points: int = Field(
        640, ge=1, lt=TIMES, description="and at last; they double at equal spans of the training (published 1280, of continuous times)"
    )
    noise_mean: float = Field(-1.1, description="without a teacher: mean of the lognormal of noise levels drawn (published -1.1)")
    noise_deviation: float = Field(2.0, gt=0, description="and its deviation (published 2)")
    prediction: Literal["epsilon", "v_prediction", "sample"] = Field(
        "v_prediction", description="without a teacher: what the network predicts; with one what the teacher does"
    )
    schedule: Literal["linear", "scaled_linear", "cosine"] = Field(
        "linear", description="without a teacher: noise schedule; with one the teacher's"
    )
    huber: float = Field(0.00054, gt=0, description="c of the pseudo-Huber distance, times the root of the number of values (published)")
    flip_x: bool = Field(False, description="mirror half of the images left-right; only where that is another valid image")
    flip_y: bool = Field(False, description="mirror half of the images top-bottom")
    precision: Precision = "auto"

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.first_points > self.last_points:
            raise ValueError(f"first_points={self.first_points} must not be above last_points={self.last_points}")
        return self


class SampleParams(Params):
    """Sampling."""

    count: int = Field(1000, ge=1, description="images")
    batch: int = Field(128, ge=1, description="images computed at once")
    steps: int = Field(1, ge=1, le=TIMES, description="network evaluations an image; noise is drawn anew between them (published 1 to 8)")
    precision: Precision = "auto"
