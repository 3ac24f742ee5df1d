"""Parameters of `score-maps`: what its tasks take, with defaults."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from fabloom.params import Params

CONSTANT = "constant"
"""The entry that scores every pixel alike: it is in every report, and must score chance."""


class EvaluateParams(Params):
    """What the maps are called, and how they are scored."""

    entries: tuple[str, ...] = Field(min_length=1, description="a name for each set of maps, in their order")
    baseline: str | None = Field(None, description="entry that the others are held against, paired; left out: the last one")
    limit: float = Field(0.3, gt=0, le=1, description="share of false positive pixels up to which AUPRO integrates (published 0.3)")
    rate: float = Field(
        0.01, gt=0, lt=1, description="share of the clean test images that may have a false alarm where single defects are counted"
    )
    min_area: int = Field(4, ge=1, description="fewest pixels of a region that is a finding or an alarm")
    resamples: int = Field(1000, ge=100, description="bootstrap resamples of the sources of the test images")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="coverage of the intervals")
    shown: int = Field(8, ge=1, description="images in a row of the picture")

    @model_validator(mode="after")
    def _named(self) -> Self:
        if len(set(self.entries)) < len(self.entries):
            raise ValueError("entries: two have one name")
        if CONSTANT in self.entries:
            raise ValueError(f"entries: '{CONSTANT}' is the control that is in every report; take another name")
        if self.baseline is not None and self.baseline not in self.entries:
            raise ValueError(f"baseline '{self.baseline}' is none of the entries {', '.join(self.entries)}")
        return self


class RankParams(Params):
    """What the maps are called, and how they are scored."""

    entries: tuple[str, ...] = Field(min_length=1, description="a name for each set of maps, in their order")
    resamples: int = Field(1000, ge=100, description="bootstrap resamples of the sources of the test images")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="coverage of the intervals")

    @model_validator(mode="after")
    def _named(self) -> Self:
        if len(set(self.entries)) < len(self.entries):
            raise ValueError("entries: two have one name")
        return self


class DensityParams(Params):
    """Over what the share of bright pixels is taken."""

    smooth: float = Field(1.0, gt=0, description="deviation in pixels of the Gaussian")
    given: int = Field(
        0, ge=0, description="last channels of an image that say where it has anything, 255, or nothing, 0, as where a wafer has dies "
        "(wafer-map: 1): nothing has no part in a share"
    )  # fmt: skip


class DifferenceParams(Params):
    """How the difference to a clean image is taken."""

    smooth: float = Field(1.0, ge=0, description="deviation in pixels of the Gaussian over both images")
