"""Parameters of `quality`: what its tasks take, with defaults and presets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fabloom.params import Params
from fabloom.plugins.blocks.labels import LabelParams


class EvaluateParams(Params):
    """What is measured. Every score is a mean over the images with a bootstrap interval."""

    reference_row: int | None = Field(None, ge=0, description="row of the reference image; left out: the only one with a defect")
    clean_row: int | None = Field(
        None,
        ge=0,
        description="row of the clean image of the reference pair; left out: the first clean one (domain 0) that lies where the reference "
        "image does, and for defects the median of all, or the reference that each image has",
    )
    nets: tuple[Literal["squeeze", "alex", "vgg"], ...] = Field(
        ("squeeze", "alex", "vgg"),
        description="trunks of LPIPS (published: squeeze); one whose weights are missing is left out, with a note",
    )
    neighbours: int = Field(
        2, ge=1, description="diversity: each image is compared with so many others, those before it in a ring of random order"
    )
    reach: int = Field(7, ge=0, description="pixels by which an image may be shifted either way to look for a copy of the reference")
    copy_below: float = Field(
        0.6,
        gt=0,
        lt=1,
        description="a copy is nearer to the reference than this multiple of what a second acquisition would be; "
        "the same scene without its noise is at 0.71",
    )
    copy_noise: float = Field(
        0.2,
        gt=0,
        lt=1,
        description="a copy's noise correlates with that of a training image by this or more; 0.71 with as much fresh noise on top, 0.32 "
        "with three times as much",
    )
    noise_margin: float = Field(
        0.25, gt=0, description="noise is called like that of real images where its interval lies within this share of theirs"
    )
    labels: LabelParams = Field(LabelParams(preset="published"), description="what counts as a defect, as in reference-difference.label")
    resamples: int = Field(2000, ge=100, description="bootstrap resamples of the images")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="coverage of the intervals")
    shown: int = Field(17, ge=1, description="generated images of the contact sheet")
