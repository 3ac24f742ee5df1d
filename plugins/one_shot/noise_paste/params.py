"""Parameters of `noise-paste`: what its tasks take, with defaults."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from fabloom.params import Params

Texture = Literal["images", "shifted", "noise"]


class TrainParams(Params):
    """Which clean images are kept. Nothing is trained."""

    cleans: int = Field(
        32, ge=1, description="most clean images that textures are pasted on; of more, evenly spread ones; fewer of large ones"
    )


class SampleParams(Params):
    """How textures are put on clean images."""

    count: int = Field(200, ge=1, description="images")
    size: tuple[int, int] | None = Field(
        None, description="height and width of the output; null is that of the clean images; a larger one continues their period"
    )
    defect_share: float = Field(0.5, ge=0, le=1, description="share of images with a defect, on the average (published 0.5)")
    textures: tuple[Texture, ...] = Field(
        ("images", "shifted", "noise"),
        min_length=1,
        description="what is pasted (published: images of another data set): images: of the input `textures`, where it is connected; "
        "shifted: the clean image itself, moved and mirrored; noise: white noise behind a blur of 0.5 to 4 pixels",
    )
    levels: Literal["image", "full"] = Field(
        "image",
        description="grey range to which a texture is stretched: that of the clean image, or 0..255 (published), which on images of low "
        "contrast gives defects that nobody could miss",
    )
    opacity: tuple[float, float] = Field((0.1, 1.0), description="range of the texture's share in its shape, uniform (published 0.1 to 1)")
    cells: tuple[int, int] = Field(
        (0, 5), description="powers of two of the cells of the Perlin noise along either side, drawn for each (published 0 to 5)"
    )
    threshold: float = Field(0.5, gt=0, lt=1, description="the shape is where the Perlin noise exceeds this (published 0.5)")
    batch: int = Field(16, ge=1, description="images written at once; changes no image")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"size: height and width must be positive, not {self.size}")
        if not 0 < self.opacity[0] <= self.opacity[1] <= 1:
            raise ValueError(f"opacity: two shares in (0, 1], the smaller one first, not {self.opacity}")
        if not 0 <= self.cells[0] <= self.cells[1] <= 10:
            raise ValueError(f"cells: two powers in 0..10, the smaller one first, not {self.cells}")
        return self
