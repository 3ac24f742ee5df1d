"""`icddm`: one conditional diffusion model of clean and of defect images, coupled by the noise that they share."""

from __future__ import annotations

from collections.abc import Mapping

from fabloom.errors import PipelineError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Method, Outline, PlannedStep, task
from fabloom.plugins.blocks.expected import found, trained

from .params import NO_LATENTS, AugmentParams, DetectParams, PairParams, TrainParams


class Icddm(Method):
    """ICDDM (Yang & Sun 2024): the joint of defect images and their clean twins, from images of both kinds that are no twins.

    A diffusion model knows both domains. An image is led into the noise under its own domain and back under the other, by a way without
    chance, so that all the domains have in common stays. With an autoencoder it does so in latents, which is CDLDM. What differs is the
    defect: no mask is ever given.
    """

    name = "icddm"
    preload = ("torch", "torch._dynamo", "diffusers", "skimage.morphology")

    @classmethod
    def check(cls, step: PlannedStep, upstream: Mapping[str, PlannedStep]) -> None:
        """Refuse known channels in latents, before anything runs."""
        if isinstance(step.params, TrainParams) and step.params.given and "autoencoder" in step.inputs:
            raise PipelineError(f"steps.{step.name}.params.given", NO_LATENTS)

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """Of `detect`: its images with masks, scores and clean estimates."""
        if isinstance(step.params, TrainParams):
            return trained(inputs)
        return found(inputs, references=True) if isinstance(step.params, DetectParams) else None

    @task(version=1)
    def train(self, ctx: Context, params: TrainParams, *, images: ImageSet, autoencoder: Model | None = None) -> Model:
        """Learn both domains of a set, by its column `domain`, half of every batch each; with `autoencoder` in its latents (CDLDM).

        Raises DataError for a set that does not say which images are clean, for fewer than two defect or eight clean ones, for images that
        fold and levels cannot halve, and where what is `given` is no mask, leaves nothing to learn, or would go into latents.
        """
        from . import training

        return training.train(ctx, params, images, autoencoder)

    @task(version=1)
    def detect(self, ctx: Context, params: DetectParams, *, images: ImageSet, model: Model) -> ImageSet:
        """The same images with masks and `scores` of where they differ from their clean estimates, which are their `references`.

        Raises DataError for images of another size than the model's.
        """
        from . import jobs

        return jobs.detect(ctx, params, images, model)

    @task(version=1)
    def pair(self, ctx: Context, params: PairParams, *, images: ImageSet, model: Model) -> ImageSet:
        """Every image of a set with its twin: defect images, their clean twins as `references`, and masks of what differs.

        A defect image gets the clean one that it would be, a clean one the defect image that it might be. Images without a visible
        difference are left out and counted. Raises DataError for a set without `domain`, images of another size, and where none is left.
        """
        from . import jobs

        return jobs.pair(ctx, params, images, model)

    @task(version=1)
    def augment(self, ctx: Context, params: AugmentParams, *, images: ImageSet, model: Model) -> ImageSet:
        """New defect images, with masks and clean twins, on clean images (the published `generate_defect`) or as variations of defect ones.

        Image i is made of the images in turn, with noise of (seed, i). What shows no defect after `attempts` tries is left out and
        counted. Raises DataError for a set without `domain`, images of another size, and where no try shows a defect.
        """
        from . import jobs

        return jobs.augment(ctx, params, images, model)
