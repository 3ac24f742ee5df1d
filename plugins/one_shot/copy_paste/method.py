"""`copy-paste`: real defects on other places of clean images, with exact masks; what every generator must beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Fanout, Method, Outline, PlannedStep, task
from fabloom.plugins.blocks.expected import pasted, trained

from .params import SampleParams, TrainParams


class CopyPaste(Method):
    """Residuals of real defects, pasted where the structure looks as it does at their own place (after Ghiasi et al. 2021).

    There is no network and no training: the model is the cut-out defects and the clean images. What a generator adds to this is
    what it is worth.
    """

    name = "copy-paste"
    tags = frozenset({"one-shot"})
    preload = ("torch", "scipy.signal", "skimage.restoration")

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """Samples have the size that is asked for, or that of the images."""
        return pasted(step.params, inputs) if isinstance(step.params, SampleParams) else trained(inputs)

    @classmethod
    def joined(cls, step: PlannedStep, parts: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Masks of a part may happen to hold the first class alone."""
        several = {"mask_classes": True} if any(part.get("mask_classes") for part in parts) else {}
        return {**parts[0], **several}

    @task(version=1)
    def train(self, ctx: Context, params: TrainParams, *, images: ImageSet, reference: ImageSet | None = None) -> Model:
        """Cut the defects out of all images that have one: what they differ by from a clean image of the same place.

        The clean image is, in this order, the nearest of the set `reference`, the image's own reference, the nearest clean one (domain
        0) of the set; it is moved onto the image by fractions of a pixel. Masks are the images' own, of one class or of several; without
        them they follow from the difference. Equal channels are collapsed to one; colour stays colour. Raises DataError where no image
        has a defect, for a defect image without a clean one of the same place, and for sets of other sizes or channels.
        """
        from . import training

        return training.train(ctx, params, images, reference)

    @task(version=3, fanout=Fanout(count="count", unit=("batch",)))
    def sample(self, ctx: Context, params: SampleParams, *, model: Model) -> ImageSet:
        """Paste defects on clean images: images with masks, domain, references (the clean images), source, and classes where there are any.

        `source` is the image that the first defect of a sample is from, else the clean image. Raises DataError for a size that holds
        no defect, or that the clean images cannot be continued to.
        """
        from . import sampling

        return sampling.sample(ctx, params, model)
