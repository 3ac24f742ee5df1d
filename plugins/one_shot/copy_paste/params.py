"""Parameters of `copy-paste`: what its tasks take, with defaults."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from fabloom.params import Params
from fabloom.plugins.blocks.cutouts.params import Cutting

LARGEST = 8.0
"""Most defects an image on the average."""


class TrainParams(Cutting):
    """How defects are cut out. Nothing is trained."""


class SampleParams(Params):
    """How defects are put on clean images."""

    count: int = Field(200, ge=1, description="images")
    size: tuple[int, int] | None = Field(
        None, description="height and width of the output; null is that of the clean images; a larger one continues their period"
    )
    rate: float = Field(1.0, ge=0, le=LARGEST, description="defects an image on the average, Poisson: at 1, 37 % of the images are clean")
    contrast: tuple[float, float] = Field((0.8, 1.25), description="range of the factor of a defect's contrast, uniform in its logarithm")
    mirror: bool = Field(True, description="mirror and turn defects, where the structure looks so mirrored or turned")
    batch: int = Field(16, ge=1, description="images written at once; changes no image")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"size: height and width must be positive, not {self.size}")
        if not 0 < self.contrast[0] <= self.contrast[1]:
            raise ValueError(f"contrast: two positive factors, the smaller one first, not {self.contrast}")
        return self
