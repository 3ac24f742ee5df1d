"""`inpaint`: defects made by a small conditional network inside of masks on clean images, which stay as they are elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Fanout, Method, Outline, PlannedStep, task
from fabloom.plugins.blocks.expected import trained

from .params import SampleParams, TrainParams

COUNTED = ("defects_asked", "defects_left_out", "mask_pixels", "mask_pixels_unseen")
"""Attributes that are sums over the samples."""


class Inpaint(Method):
    """Mask-conditioned in-painting of defects, learnt from one to some ten examples of each class, without a pretrained prior.

    A small convolutional network learns, on windows around real defects, what a defect changes in a clean image inside of a mask
    (after DefectFill, AnomalyDiffusion, RePaint and patch diffusion on SEM images). Masks are exact: outside of them a sample is the
    clean image, bit for bit.
    """

    name = "inpaint"
    tags = frozenset({"one-shot"})
    preload = ("torch", "torch._dynamo", "scipy.signal", "skimage.restoration")

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """Samples have the size of the clean images."""
        if not isinstance(step.params, SampleParams):
            return trained(inputs)
        given = "images" in step.inputs
        image = inputs["images"].image if "images" in inputs else inputs["model"].image if "model" in inputs and not given else None
        if image is None:
            return None
        count, plane = step.params.count, tuple(image[1:])
        beside = {"masks": ((count, *plane), "uint8"), "references": ((count, image[0], *plane), "uint8")}
        return Outline.of_images(count, image, **beside, domain=((count,), "int8"), source=((count,), "int32"))

    @classmethod
    def joined(cls, step: PlannedStep, parts: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        """Counts are added; masks of a part may happen to hold the first class alone."""
        several = {"mask_classes": True} if any(part.get("mask_classes") for part in parts) else {}
        return {**parts[0], **{name: sum(part[name] for part in parts) for name in COUNTED}, **several}

    @task(version=2)
    def train(self, ctx: Context, params: TrainParams, *, images: ImageSet, reference: ImageSet | None = None) -> Model:
        """Train on all images of the set that have a defect, each held against a clean image of its place.

        The clean image is, in this order, the nearest of the set `reference`, the image's own reference, the nearest clean one (domain
        0) of the set. Masks are the images' own, of one class or of several; without them they follow from the difference. The model
        keeps the averaged weights, the shapes of the defects and the clean images. Equal channels are collapsed to one; colour stays
        colour. Raises DataError where no image has a defect, for a defect image without a clean one of the same place, and for sets of
        other sizes or channels.
        """
        from . import training

        return training.train(ctx, params, images, reference)

    @task(version=2, fanout=Fanout(count="count", unit=("batch",)))
    def sample(
        self, ctx: Context, params: SampleParams, *, model: Model, images: ImageSet | None = None, masks: ImageSet | None = None
    ) -> ImageSet:
        """Make defects inside of masks on clean images: images with masks, domain, references (the clean images), source, and classes
        where the model has them.

        `images` holds clean images of any size (domain 0, or the references of a set without such), which are taken in turn instead of
        those of the training set. `masks` holds masks that a user drew, taken in turn: a value that names a class of the model asks for
        that class, without classes one is drawn. Without them, shapes of the training defects are scaled, deformed and put where the
        structure looks as it did around them. The attributes count defects and pixels of masks without visible change. Raises DataError
        for images in other channels, masks of another size, and a class that the model has not seen.
        """
        from . import sampling

        return sampling.sample(ctx, params, model, images, masks)
