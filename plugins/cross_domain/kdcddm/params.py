"""Parameters of `kdcddm`: what its tasks take, with defaults."""

from __future__ import annotations

from pydantic import Field

from fabloom.params import Precision
from fabloom.plugins.blocks.backbone import Backbone, Network
from fabloom.plugins.blocks.domains.params import Batched, Found, Paired, Route


class RecordParams(Route, Batched):
    """What the teacher is asked."""

    back: bool = Field(True, description="record clean images as defect ones too, for `pair`; off: clean twins alone, for `detect`")
    block: int = Field(512, ge=1, description="rows written together; a killed recording goes on from the last block")


class DistillParams(Backbone):
    """One-step student. The defaults suit some thousand images of 32 x 32 on a CPU."""

    network: Network = Field(Network(channels=(24, 48, 72)), description="shape of the student's U-Net")
    steps: int = Field(800, ge=1, description="optimizer steps (published 100 epochs)")
    batch: int = Field(32, ge=1, description="recorded rows a step (published 16)")
    lr: float = Field(1e-3, gt=0, description="learning rate of the student after its warm-up (published 1e-4)")
    warmup: int = Field(100, ge=0, description="steps over which it rises from 0; it then falls to 0 by a cosine")
    critic_lr: float = Field(2e-4, gt=0, description="learning rate of the critic (published 1e-4)")
    critic_width: int = Field(32, ge=4, description="channels of the critic's first layer (published 128)")
    adversarial_weight: float = Field(
        0.0, ge=0, description="weight of the critic's loss (published 1); 0, the default, trains none: at 0.1 students came out worse "
        "or showed one pattern on every image"
    )  # fmt: skip
    teacher_weight: float = Field(10.0, gt=0, description="weight of the mean absolute difference to the teacher (published 10)")
    identity_weight: float = Field(5.0, ge=0, description="weight of the change of clean images that are asked to stay clean")
    cycle_weight: float = Field(0.0, ge=0, description="weight of the way back: clean, with a defect, clean again")
    alone: float = Field(0.2, ge=0, le=1, description="share of the steps before the critic begins; its weight then rises over as many")
    grad_clip: float = Field(1.0, gt=0, description="largest gradient norm of the student")
    ema_decay: float = Field(0.997, ge=0, lt=1, description="decay of the weight average, after its warm-up (published 0.999)")
    held_out: float = Field(0.1, gt=0, lt=1, description="share of the recorded rows, the last ones, on which the student is held against "
                            "its teacher")  # fmt: skip
    precision: Precision = "auto"


class DetectParams(Found):
    """When the student's clean estimate differs."""

    precision: Precision = "auto"


class PairParams(Paired):
    """How twins are made."""

    precision: Precision = "auto"
