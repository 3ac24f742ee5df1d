"""Parameters of the tasks that make sets of sets: `split`, `draw`, `tile`, `join`, `class_masks` and `shuffle_masks`."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from fabloom.params import Params

from .lots import checked


class SplitParams(Params):
    """Which part of a set. Two steps of one seed with `part: train` and `part: test` share no source and leave nothing out."""

    part: Literal["train", "test"] = Field(description="train: what is learned from; test: what is held out")
    share: float = Field(0.3, gt=0, lt=1, description="share of the sources that is held out, of clean and defect ones alike; at least one")
    defects: int | None = Field(
        None, ge=1, description="keep the images of this many sources with a defect only, beside all clean ones: 1 for a one-shot method"
    )
    lot: str | None = Field(
        None,
        description="regular expression that finds the lot in a source's name, as its group or whole; images of one lot are on one side",
    )

    @model_validator(mode="after")
    def _lot(self) -> Self:
        checked(self.lot)
        return self


class DrawParams(Params):
    """How many images are drawn. A draw of more holds every image of a draw of fewer with the same seed."""

    defects: int = Field(ge=0, description="sources with a defect that are drawn, one image of each")
    clean: int | None = Field(8, ge=0, description="sources without one that are drawn, one image of each; null: all of them")
    unit: Literal["source", "image"] = Field(
        "source", description="image: each image counts as a source, such as the tiles of larger ones; equal ones count once"
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.defects == self.clean == 0:
            raise ValueError("defects=0 and clean=0 draw nothing; raise one of them")
        return self


class ShuffleParams(Params):
    """Nothing to set: which image gets whose mask follows from the seed."""


class TileParams(Params):
    """Squares cut out of larger images, masks and references with them."""

    size: int = Field(128, ge=8, description="side of a tile in pixels; images that fit into one are left whole")
    stride: int | None = Field(None, ge=1, description="distance of tiles, the last of a row moved to the edge; default: size, no overlap")
    rest: int = Field(
        4,
        ge=0,
        description="a rest of a defect, cut off by the edge of a tile, that reaches fewer pixels into it is 255, 'cannot tell'; 0: none",
    )

    @model_validator(mode="after")
    def _covers(self) -> Self:
        if self.stride is not None and self.stride > self.size:
            raise ValueError(f"stride={self.stride} above size={self.size} leaves pixels out; lower it")
        return self


class JoinParams(Params):
    """Nothing to set: the sets follow each other in the order of the inputs."""


class ClassMaskParams(Params):
    """Nothing to set: labels of the images say the classes."""
