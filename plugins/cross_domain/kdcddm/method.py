"""`kdcddm`: the way between clean and defect in one evaluation, taught by `icddm`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fabloom.kinds import ImageSet, Model, OfflineData
from fabloom.method import Context, Method, Outline, PlannedStep, task
from fabloom.plugins.blocks.expected import found

from .params import DetectParams, DistillParams, PairParams, RecordParams

if TYPE_CHECKING:
    from fabloom.network import Network


class Kdcddm(Method):
    """KDCDDM (Yang & Sun 2024): a student that translates in one step, from a teacher's recorded answers.

    The teacher leads an image into the noise and back. The same image always gets the same answer, so that a network can learn the answer
    alone (Kang et al. 2024, Diffusion2GAN).
    """

    name = "kdcddm"
    preload = ("torch", "torch._dynamo", "diffusers", "skimage.morphology")

    @classmethod
    def networks(cls, model: Model) -> Mapping[str, Network]:
        """The student from image to clean estimate and difference: `detector`."""
        from . import exporting

        return exporting.networks(model)

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """Of `detect`: its images with masks, scores and clean estimates."""
        return found(inputs, references=True) if isinstance(step.params, DetectParams) else None

    @task(version=1, signature="translating")
    def record(self, ctx: Context, params: RecordParams, *, images: ImageSet, teacher: Model) -> OfflineData:
        """Ask a model of icddm.train for every image of a set what it would be without a defect, and of clean ones what with one.

        Rows hold the image as the network sees it and the change to the answer, in int8. Raises DataError for a set without `domain`
        and for images of another size.
        """
        from . import recording

        return recording.record(ctx, params, images, teacher)

    @task(version=1)
    def distill(self, ctx: Context, params: DistillParams, *, teacher: Model, offline: OfflineData) -> Model:
        """Learn the answers in one evaluation: mean absolute difference to the teacher, identity of clean images, a critic where asked for.

        Raises DataError for a teacher of another method, and rows of another teacher.
        """
        from . import distillation

        return distillation.distill(ctx, params, teacher, offline)

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

        Raises DataError for a set without `domain`, images of another size, and where no image differs from its twin.
        """
        from . import jobs

        return jobs.pair(ctx, params, images, model)
