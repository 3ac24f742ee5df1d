"""Parameters of `gpnn`: what its tasks take, with defaults."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from fabloom.params import Params


class TrainParams(Params):
    """Which image, and its scales. Nothing is trained."""

    image: int | None = Field(None, ge=0, description="row of the image in the set; default: the only one, or the only one with a defect")
    coarsest: int = Field(14, ge=3, description="heights shrink until one is at most this many pixels; the copy is freer where it is large")
    ratio: float = Field(0.75, ge=0.5, le=0.95, description="height of a scale over that of the next finer one, truncated to whole pixels")
    stretch: bool = Field(True, description="map the image's own grey range to -1..1; False (published): 0..255, in which `alpha` is meant")


class SampleParams(Params):
    """How patches are rearranged."""

    count: int = Field(50, ge=1, description="images")
    size: tuple[int, int] | None = Field(None, description="height and width of the output; null is that of the image (retargeting)")
    patch: int = Field(7, ge=3, le=31, description="height and width of a patch in pixels")
    alpha: float | None = Field(
        0.005, gt=0, description="small: every patch of the image is wanted somewhere (completeness); null: each place takes its nearest"
    )
    iterations: int = Field(10, ge=1, description="searches at every scale but the coarsest, which has one; fewer where nothing changes")
    start: Literal["mean", "image"] = Field("mean", description="what the noise is added to: the mean grey level, or the coarsest image")
    noise: float = Field(
        1.0, ge=0, description="standard deviation of the noise at the coarsest scale, over that of the image there (published: about 0.13)"
    )
    keys: Literal["blur", "coarser"] = Field(
        "blur", description="what is compared: each scale blurred by its own ratio, or the next coarser scale, and the coarsest as it is"
    )
    reduce: Literal["mean", "gauss"] = Field("mean", description="weights of overlapping patches: equal, or Gaussian of 1.7 pixels")
    batch: int = Field(16, ge=1, description="images written at once; changes no image")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.size is not None and min(self.size) < self.patch:
            raise ValueError(f"size: height and width must be at least patch={self.patch}, not {self.size}")
        return self
