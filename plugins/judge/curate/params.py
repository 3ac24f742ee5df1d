"""Parameters of `curate`: what its tasks take, with defaults."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from fabloom.params import Params

MIN_AREA = 4
"""Fewest pixels of a defect that is found, and of an alarm, as in unet.evaluate."""


class SelectParams(Params):
    """How many images are kept, and which."""

    count: int = Field(
        100, ge=1, description="images to keep, clean and defect ones in the proportion of the pool; fewer where fewer are fit"
    )
    hardness: float = Field(
        0.5, ge=0, le=1, description="0: chosen at random; 1: those first that the segmenter gets most wrong; between: a mean of both ranks"
    )
    diversity: float = Field(
        0.3, ge=0, le=1, description="0: no matter how alike they are; 1: only as different in place and size of the defect as can be"
    )
    copy_below: float | None = Field(
        0.6, gt=0, lt=1, description="a copy is nearer to a real image than this multiple of what a second acquisition of it would be, as "
        "in quality.evaluate; null: copies are kept"
    )  # fmt: skip
    reach: int = Field(4, ge=0, description="pixels by which an image may be shifted either way to look for a copy")
    tolerance: float | None = Field(
        0.1, ge=0, description="how far the patches of an image may lie beyond those of the real ones, as a share of how far those of "
        "one real image lie apart; null: everything is kept"
    )  # fmt: skip
    patch: int = Field(8, ge=4, le=64, description="side in pixels of the patches that are held against those of the real images")


class MissesParams(Params):
    """At which threshold defects count as missed."""

    rate: float | None = Field(
        None, gt=0, lt=1, description="share of the clean images that may have a false alarm: the threshold is the one below it that finds "
        "most defects; left out: the model's own threshold"
    )  # fmt: skip
    min_area: int = Field(MIN_AREA, ge=1, description="fewest pixels of a predicted component that finds a defect or raises an alarm")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="coverage of the intervals")


class Cell(Params):
    """What one of the reports that `compare` holds against each other is about."""

    arm: str = Field(min_length=1, description="how its images were chosen, as in tables and curves")
    round: int = Field(ge=0, description="after how many rounds")
    draw: int = Field(0, ge=0, description="which draw of the real images; arms of one draw have them in common")


class CompareParams(Params):
    """What each of the reports is about."""

    cells: tuple[Cell, ...] = Field(min_length=1, description="one for each report, in their order")
    arm: str = Field("closed loop", description="the arm that is judged")
    control: str = Field("control", description="the arm that it is held against: the same without the loop")
    resamples: int = Field(2000, ge=100, description="bootstrap resamples of the test images")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="coverage of the intervals")

    @model_validator(mode="after")
    def _tells(self) -> Self:
        if len({(c.arm, c.round, c.draw) for c in self.cells}) < len(self.cells):
            raise ValueError("two of the cells are of one arm, round and draw")
        arms = {cell.arm for cell in self.cells}
        for name in ("arm", "control"):
            if (said := getattr(self, name)) not in arms:
                raise ValueError(f"{name} '{said}' is that of no cell, which have {', '.join(sorted(arms))}")
        return self
