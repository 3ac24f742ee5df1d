"""`reference-difference`: labels registered images by what differs from a clean reference."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fabloom.artifacts import ImageSet
from fabloom.context import Context
from fabloom.method import Method, task
from fabloom.params import Params


class LabelParams(Params):
    """When a difference is a defect. A field that is left out takes the value of the preset."""

    preset: Literal["calibrated", "published"] = Field(
        "calibrated",
        description="calibrated: the threshold follows noise and contrast, min_area 6, min_circularity 0.3; "
        "published: threshold 5 grey levels on 8-bit blurred images, min_area 51, min_circularity 0.6 (SinSEMI, for 96 x 96)",
    )
    threshold: float | None = Field(None, gt=0, description="grey levels by which a blurred defect differs, instead of the preset's")
    sigmas: float = Field(6.0, gt=0, description="calibrated threshold: at least this many standard deviations of the noise")
    contrast_share: float = Field(0.3, ge=0, lt=1, description="calibrated threshold: at least this share of the reference's contrast")
    min_area: int | None = Field(None, ge=1, description="fewest pixels of a defect, instead of the preset's")
    min_circularity: float | None = Field(None, ge=0, le=1, description="a component is kept above this 4 pi area / perimeter^2")


class ReferenceDifference(Method):
    """Pseudo-labels for generated images: blur, subtract the reference, threshold, keep compact components.

    The labels hold only where the lines of an image lie on those of the reference; the share of images whose lines are more
    than a pixel off is therefore part of the result. A shifted image gives long thin components, which the circularity
    refuses: it is then labelled clean although it may hold a defect.
    """

    name = "reference-difference"
    preload = ("numpy", "scipy.ndimage")

    @task(version=1)
    def label(self, ctx: Context, params: LabelParams, *, images: ImageSet, reference: ImageSet) -> ImageSet:
        """The same images with masks and domain.

        `reference` gives its clean images (domain 0; a single image without a domain counts as clean); their median is what
        is subtracted. Attributes: `threshold`, `sigma` (noise of the blurred difference), `contrast`, `defect_share`,
        `components` (number of accepted components to number of images), `off_reference_share`, `reference_images`.
        Raises DataError for sizes that differ and a reference without clean images.
        """
        from . import labelling

        return labelling.run(ctx, params, images, reference)
