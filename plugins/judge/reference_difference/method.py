"""`reference-difference`: labels registered images by what differs from a clean reference."""

from __future__ import annotations

from fabloom.kinds import ImageSet
from fabloom.method import Context, Method, task

from .params import LabelParams


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
        """The same images with masks and domain; their sources go along.

        `reference` gives its clean images (domain 0; a single image without a domain counts as clean); their median is what
        is subtracted. Attributes: `threshold`, `sigma` (noise of the blurred difference), `contrast`, `defect_share`,
        `components` (number of accepted components to number of images), `off_reference_share`, `reference_images`.
        Raises DataError for sizes that differ and a reference without clean images.
        """
        from . import labelling

        return labelling.run(ctx, params, images, reference)
