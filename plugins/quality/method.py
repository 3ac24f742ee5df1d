"""`quality`: how faithful, varied and new generated images are, and where their defects lie."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fabloom.artifacts import ImageSet, Report
from fabloom.context import Context
from fabloom.method import Method, task
from fabloom.params import Params
from fabloom.plugins.blocks.labels import LabelParams


class EvaluateParams(Params):
    """What is measured. Every score is a mean over the images with a bootstrap interval."""

    reference_row: int | None = Field(None, ge=0, description="row of the reference image; left out: the only one with a defect")
    clean_row: int | None = Field(
        None, ge=0, description="row of the clean image of the reference pair; left out: the first clean one (domain 0)"
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
    labels: LabelParams = Field(LabelParams(preset="published"), description="what counts as a defect, as in reference-difference.label")
    resamples: int = Field(2000, ge=100, description="bootstrap resamples of the images")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="coverage of the intervals")
    shown: int = Field(17, ge=1, description="generated images of the contact sheet")


class Quality(Method):
    """Scores of generated images against the one image that they were learnt from (the evaluation of SinSEMI).

    The reference set holds the image with the defect and, for ratios and for counting defects, a clean image of the same
    scene. Each distance is given raw, times 100, and as a ratio to the same distance between those two.
    """

    name = "quality"
    preload = ("torch", "lpips", "torchvision")

    @task(version=1)
    def evaluate(self, ctx: Context, params: EvaluateParams, *, images: ImageSet, reference: ImageSet) -> Report:
        """SIFID, LPIPS, diversity, sliced Wasserstein, copies, nearest patches, defects and where they lie.

        A score whose weights are missing is left out and a note says so; nothing is computed on random weights. Raises
        DataError for sizes or channels that differ, for images under 32 pixels a side, and for a reference set that leaves
        open which image is the reference.
        """
        from . import evaluation

        return evaluation.evaluate(ctx, params, images, reference)
