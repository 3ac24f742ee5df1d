"""`memory-bank`: remembers patches of clean images and finds what is unlike all of them. No defect is looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fabloom.errors import PipelineError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Method, Outline, PlannedStep, task
from fabloom.plugins.blocks.expected import found, trained

from .params import FitParams, SegmentParams

if TYPE_CHECKING:
    from fabloom.progress import Messenger


class MemoryBank(Method):
    """PatchCore (Roth et al. 2022) with a prior of place for registered images, and with features that need no weights.

    Nothing is trained: the model is patches of clean images and the distance from them at which a defect begins. It needs no defect,
    which is the commonest case there is; what labelled or generated defects add to it is what they are worth.
    """

    name = "memory-bank"
    preload = ("torch", "skimage.feature", "skimage.morphology")

    @classmethod
    def prepare(cls, steps: Sequence[PlannedStep], messenger: Messenger) -> None:
        """Refuse a trunk whose weights are not to be had, before anything runs."""
        from . import weighing  # brings urllib, which `fabloom --help` must not pay for

        for name in dict.fromkeys(step.params.trunk for step in steps if isinstance(step.params, FitParams)):
            weighing.check(name, messenger)

    @classmethod
    def check_inputs(cls, step: PlannedStep, manifests: Mapping[str, Mapping[str, Any]]) -> None:
        """One clean image does not say how far clean ones lie apart."""
        images = manifests.get("images")
        if step.spec.name == "fit" and images is not None and images["arrays"]["images"]["shape"][0] < 2:
            raise PipelineError(f"steps.{step.name}.inputs.images", "memory-bank.fit needs two clean images or more; here is one image")

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """Of `segment`: its images with masks and scores."""
        if isinstance(step.params, FitParams):
            return trained(inputs)
        return found(inputs)

    @task(version=2)
    def fit(self, ctx: Context, params: FitParams, *, images: ImageSet) -> Model:
        """Remember the patches of all clean images, as few of them as stand for the others, and choose the threshold.

        Images with a defect by their domain or mask, and those with pixels that nobody can tell, are left out and said so; a set that says
        nothing is taken for clean. The threshold is the distance that the stated share of clean images exceeds, each held against a bank
        of the others. Raises DataError for fewer than two clean images, and for `registered: yes` of images that do not show one place.
        """
        from . import fitting

        return fitting.fit(ctx, params, images)

    @task(version=2)
    def segment(self, ctx: Context, params: SegmentParams, *, images: ImageSet, model: Model) -> ImageSet:
        """The same images with masks of what lies farther from the bank than the threshold, and `scores` at every pixel.

        A score is d / (d + t) of the distance d and the chosen threshold t: it rises with the distance, and is 0.5 at the threshold.
        References go along, file names stay. Images may have another size than the clean ones, at the same scale, unless these are
        registered. Raises DataError for a model that is no memory bank, for images of another number of channels, and for a size of
        which a registered bank knows no place.
        """
        from . import segmentation

        return segmentation.segment(ctx, params, images, model)
