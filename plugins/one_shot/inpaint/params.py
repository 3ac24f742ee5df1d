"""Parameters of `inpaint`: what its tasks take, with defaults."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from fabloom.params import Params, Precision
from fabloom.plugins.blocks.cutouts.params import Cutting

LARGEST = 8.0
"""Most defects an image on the average."""
Range = tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]]


class Deformation(Params):
    """How much the shapes of defects are varied."""

    scale: Range = Field((0.8, 1.25), description="range of the factor of a defect's height and width, uniform in its logarithm")
    warp: float = Field(1.0, ge=0, le=8, description="pixels (standard deviation) by which a smooth random warp moves a defect's outline")

    @model_validator(mode="after")
    def _rises(self) -> Self:
        for name in ("scale", "contrast"):
            low, high = getattr(self, name, (1, 1))
            if low > high:
                raise ValueError(f"{name}: two positive factors, the smaller one first, not {(low, high)}")
        return self


class TrainParams(Cutting, Deformation):
    """Training on windows around the defects of one image or of several. The defaults take some minutes on a core."""

    steps: int = Field(2000, ge=0, description="optimizer steps")
    batch: int = Field(16, ge=1, description="windows a step")
    width: int = Field(32, ge=8, multiple_of=2, description="channels of the network's middle blocks (45,000 parameters at 32 in grey)")
    window: int | None = Field(
        None, ge=24, le=256, description="side of a window in pixels; null: the largest defect and 8 pixels around it, 32 to 64"
    )
    copies: int = Field(
        16,
        ge=0,
        description="windows of each defect at other places that look like its own, beside that one; fewer on large images",
    )
    mirror: bool = Field(True, description="mirrored and turned ones too, where the structure looks so mirrored or turned")
    contrast: Range = Field((0.9, 1.1), description="range of the factor of a defect's contrast, uniform in its logarithm")
    loose: float = Field(
        0.25, ge=0, le=1, description="share of windows whose mask is drawn 1 or 2 pixels too wide, so that the network learns to leave "
        "clean what the structure leaves clean"
    )  # fmt: skip
    rest: float = Field(0.1, ge=0, description="weight of the mean squared error with the margin around the mask beside that within it")
    lr: float = Field(2e-3, gt=0, description="Adam learning rate, falling to 0 as a cosine")
    grad_clip: float = Field(1.0, gt=0, description="largest gradient norm")
    ema_decay: float = Field(0.995, ge=0, lt=1, description="decay of the weight average, which is what samples")
    precision: Precision = "auto"


class SampleParams(Deformation):
    """How defects are put on clean images. What concerns shapes and places is not asked where the input `masks` is connected."""

    count: int = Field(200, ge=1, description="images; given clean images and masks are taken in turn, again and again")
    rate: float = Field(1.0, ge=0, le=LARGEST, description="defects an image on the average, Poisson: at 1, 37 % of the images are clean")
    mirror: bool = Field(True, description="mirror and turn shapes, where the structure looks so mirrored or turned")
    steps: int = Field(12, ge=1, description="network evaluations a defect")
    tighten: bool = Field(
        True, description="take out of a mask the pixels that the defect hardly changes: those by less than the least twentieth of the "
        "pixels in real masks of its class; they stay clean"
    )  # fmt: skip
    shown: float = Field(
        0.5, ge=0, le=1, description="share of a mask's pixels that must change as much for the defect to be there; 0 takes what comes"
    )
    redraw: int = Field(2, ge=0, description="times that a defect is made anew of which less is shown; then it is left out")
    fade: int = Field(
        0,
        ge=0,
        le=16,
        description="pixels around a mask over which the defect fades out; 0: outside of the masks, images are the clean ones",
    )
    batch: int = Field(16, ge=1, description="images written at once; changes no image")
    precision: Precision = "auto"
