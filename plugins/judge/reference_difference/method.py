"""`reference-difference`: labels registered images by what differs from a clean reference."""

from __future__ import annotations

from collections.abc import Mapping

from fabloom.kinds import ImageSet
from fabloom.method import Context, Method, Outline, PlannedStep, task

from .params import LabelImages


class ReferenceDifference(Method):
    """Pseudo-labels for images of a known place: blur, subtract the reference, threshold, keep compact components.

    Masks and domain that images have of their own win; what differs from them is told by file name. The labels hold only where an
    image's structure lies on that of the reference: where each lies is measured, a shift is undone, and what cannot be laid on
    the reference is 255, cannot tell. So is what differs too little to be sure of.
    """

    name = "reference-difference"
    preload = ("numpy", "scipy.ndimage", "skimage.feature")

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """The images with masks and domain, and with the references and sources that they have."""
        given = inputs.get("images")
        if given is None or given.image is None:
            return None
        if "images" not in given.arrays:
            return Outline.of_image(given.image, None if given.most is None else 2 * given.most)
        count, plane = given.arrays["images"][0][0], given.image[1:]
        kept = {name: spec for name, spec in given.arrays.items() if name in ("references", "source")}
        return Outline.of_images(count, given.image, masks=((count, *plane), "uint8"), domain=((count,), "int8"), **kept)

    @task(version=3)
    def label(self, ctx: Context, params: LabelImages, *, images: ImageSet, reference: ImageSet | None = None) -> ImageSet:
        """The same images with masks and domain; sources, classes and references go along.

        `reference` gives its clean images (domain 0; a single image without a domain counts as clean; where none is clean, the
        references that its images have), and their median is what is subtracted. Without it each image is held against its own
        reference. Attributes: `threshold` and those of seed and doubt, `sigma` (noise of the blurred difference), `contrast`,
        `defect_share`, `ambiguous_share` (nothing sure, but something cannot be told), `components` (number of sure components to
        number of images), `off_reference_share` (more than a pixel off, or unlike), `aligned_share`, `unlabelled_share`,
        `false_share` (of the images known to be clean), `contradicted` and `contradictions` by file name, `reference_images`,
        `labelled` (whether the rule made all masks or some; missing where all are the images' own).
        Raises DataError for sizes that differ, a reference without clean images, clean images that are not of one place (with the
        measured shift), images most of which lie elsewhere, and rules that find defects in most of the clean ones.
        """
        from . import labelling

        return labelling.run(ctx, params, images, reference)
