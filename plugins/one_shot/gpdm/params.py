"""Parameters of `gpdm`: what its tasks take, with defaults and presets."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fabloom.params import Params

PRESETS: dict[str, dict[str, Any]] = {"small": {"steps": 100, "lr": 0.03}, "published": {"steps": 300, "lr": 0.01}}


class TrainParams(Params):
    """Which image, and its scales. Nothing is trained."""

    image: int | None = Field(None, ge=0, description="row of the image in the set; default: the only one, or the only one with a defect")
    coarsest: int = Field(
        21, ge=3, description="heights shrink until one is at most this many pixels; the fewer patches wide, the nearer to a copy"
    )
    ratio: float = Field(0.85, ge=0.5, le=0.95, description="height of a scale over that of the next finer one, truncated to whole pixels")
    stretch: bool = Field(True, description="map the image's own grey range to -1..1; False (published): 0..255, in which `lr` is meant")


class SampleParams(Params):
    """How pixels are optimised."""

    preset: Literal["small", "published"] = Field("small", description="small: 100 steps of 0.03 a scale; published: 300 of 0.01")
    count: int = Field(50, ge=1, description="images")
    size: tuple[int, int] | None = Field(None, description="height and width of the output; null is that of the image (retargeting)")
    patch: int = Field(7, ge=3, le=31, description="height and width of a patch in pixels")
    projections: int = Field(64, ge=1, description="random directions of a step, in which patches are compared")
    steps: int | None = Field(None, ge=1, description="steps of Adam at every scale; small 100, published 300")
    lr: float | None = Field(None, gt=0, description="learning rate in units of -1..1; small 0.03, published 0.01")
    settle: float = Field(0.2, ge=0, le=1, description="share of a scale's steps in which the rate falls to 0 (published 0: jitter stays)")
    start: Literal["mean", "image"] = Field("mean", description="what the noise is added to: the mean grey level, or the coarsest image")
    noise: float = Field(
        1.0, ge=0, description="standard deviation of the noise at the coarsest scale, over that of the image there (published: about 0.4)"
    )
    batch: int = Field(8, ge=1, description="images optimised at once, each against the image by itself; changes images by rounding only")

    def filled(self) -> dict[str, Any]:
        """All fields, with the preset's values in the place of those that are left out."""
        given = {name: value for name in type(self).model_fields if (value := getattr(self, name)) is not None}
        return {"size": None, **PRESETS[self.preset], **given}

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.size is not None and min(self.size) < self.patch:
            raise ValueError(f"size: height and width must be at least patch={self.patch}, not {self.size}")
        return self
