"""Parameters that every method has which cuts defects out."""

from __future__ import annotations

from pydantic import Field

from fabloom.params import Params
from fabloom.plugins.blocks.labels import LabelParams


class Cutting(Params):
    """How defects are cut out, and which clean images are kept."""

    labels: LabelParams = Field(
        LabelParams(), description="what counts as a defect where an image has no mask, as in reference-difference.label"
    )
    margin: int = Field(3, ge=0, le=32, description="pixels by which a mask is widened, and over which the defect fades out")
    cleans: int = Field(
        32, ge=1, description="most clean images that defects are pasted on; of more, evenly spread ones; fewer of large ones"
    )
