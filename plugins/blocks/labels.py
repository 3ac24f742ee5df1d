"""When a difference to a clean reference is a defect: the parameters, apart from the code so that listing them stays light."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fabloom.params import Params


class LabelParams(Params):
    """When a difference is a defect. A field that is left out takes the value of the preset."""

    preset: Literal["calibrated", "published"] = Field(
        "calibrated",
        description="calibrated: thresholds follow noise and contrast, min_area 6, min_circularity 0.3, doubtful pixels are 255; "
        "published: threshold 5 grey levels on 8-bit blurred images, min_area 51, min_circularity 0.6, no doubt (SinSEMI, for 96 x 96)",
    )
    threshold: float | None = Field(None, gt=0, description="grey levels by which a blurred defect differs, instead of the preset's")
    sigmas: float = Field(6.0, gt=0, description="calibrated threshold: at least this many standard deviations of the noise")
    contrast_share: float = Field(0.3, ge=0, lt=1, description="calibrated threshold: at least this share of the reference's contrast")
    seed_share: float = Field(
        0.67, gt=0, le=1, description="calibrated: a defect rises above this share of the threshold (and above `sigmas`); its edge is at "
        "half of its height, or at the threshold where that is lower",
    )  # fmt: skip
    doubt_share: float = Field(
        0.33, gt=0, le=1, description="calibrated: what differs by more than this share of the threshold and is no defect is 255, cannot "
        "tell; 1 leaves no doubt",
    )  # fmt: skip
    doubt_sigmas: float = Field(4.0, gt=0, description="calibrated: doubt begins at so many standard deviations of the noise at least")
    jitter: float | None = Field(
        None,
        ge=0,
        description="calibrated: standard deviation in pixels of where edges lie, what it makes is no defect; left out: measured",
    )
    min_area: int | None = Field(None, ge=1, description="fewest pixels of a defect, instead of the preset's")
    min_circularity: float | None = Field(None, ge=0, le=1, description="a component is kept above this 4 pi area / perimeter^2")

    @property
    def aligns(self) -> bool:
        """Whether images are held against a reference that is moved to where they lie."""
        return self.preset == "calibrated"
