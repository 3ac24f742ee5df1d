"""Parameters of `reference-difference`: the rule that a pixel is a defect, shared with every method that labels, and when it holds."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fabloom.plugins.blocks.labels import LabelParams

__all__ = ["LabelImages", "LabelParams"]


class LabelImages(LabelParams):
    """When a difference is a defect, what becomes of labels that are there already, and when labels are refused."""

    given: Literal["keep", "within", "replace"] = Field(
        "keep",
        description="masks and domain that the images have: kept, and what differs says so; within: masks are areas around defects, such "
        "as boxes, and what differs inside one is its defect (255 where nothing surely does); or replaced as if there were none",
    )
    align: Literal["auto"] | bool = Field(
        "auto", description="hold an image against the reference where its structure lies, whole shifts and fractions of a pixel; the "
        "border that leaves is 255. auto: preset calibrated alone",
    )  # fmt: skip
    max_off_share: float = Field(
        0.5, ge=0, le=1, description="calibrated: refuse to label where more of the images are not where the reference is; 1 never"
    )
    max_false_share: float = Field(
        0.5, ge=0, le=1, description="refuse to label where more of the images that are known to be clean come out defective; 1 never"
    )

    @property
    def aligns(self) -> bool:
        """As `align` says."""
        return super().aligns if self.align == "auto" else self.align
