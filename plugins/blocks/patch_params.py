"""Parameters that GPNN and GPDM share: one image at its scales, and where a canvas starts. Light, since `fabloom plan` reads them."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from fabloom.params import Params

RELEASED: dict[str, Any] = {"start": "zeros", "noise_at": "finest"}
"""How the released code of both starts: nearly without noise, since what is drawn at the full size is averaged away in shrinking."""


class PatchTraining(Params):
    """Which image, and its scales. Nothing is trained. Subclass it with its fields of `coarsest` and `ratio`."""

    image: int | None = Field(None, ge=0, description="row of the image in the set; default: the only one, or the only one with a defect")
    coarsest: int
    ratio: float
    stretch: bool = Field(
        True, description="map the image's own grey range to -1..1; False (published): 0..255, in which the method's numbers are meant"
    )


class PatchSampling(Params):
    """The canvas that is made into an image. Subclass it with a `preset`, a `batch`, and what is the method's own."""

    count: int = Field(50, ge=1, description="images")
    size: tuple[int, int] | None = Field(None, description="height and width of the output; null is that of the image (retargeting)")
    patch: int = Field(7, ge=3, le=31, description="height and width of a patch in pixels")
    start: Literal["mean", "image", "zeros"] = Field(
        "mean", description="what the noise is added to: the mean grey level, the coarsest image, or the middle of -1..1 (released code)"
    )
    noise: float = Field(1.0, ge=0, description="standard deviation of the noise, in units that `noise_at` says")
    noise_at: Literal["coarsest", "finest"] = Field(
        "coarsest",
        description="where noise is drawn. coarsest: at that scale, over the deviation of the image there; finest (released code): at the "
        "full size, in units of -1..1, and shrunk to the coarsest scale, which averages most of it away",
    )
    batch: int

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.size is not None and min(self.size) < self.patch:
            raise ValueError(f"size: height and width must be at least patch={self.patch}, not {self.size}")
        return self
