"""`samplers`: sets that several models drew, held against real images, with what each image and each training took."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fabloom.errors import PipelineError
from fabloom.kinds import ImageSet, Report
from fabloom.method import Context, Method, task

from .params import CompareParams

if TYPE_CHECKING:
    from fabloom.method import PlannedStep


class Samplers(Method):
    """One table of many samplers: defects, spectrum, distance of patches to real images, variety, copies, segmenter, and arithmetic.

    Arithmetic is counted in multiply-adds, which do not depend on the machine; seconds stand with the steps on the page.
    """

    name = "samplers"
    preload = ("numpy", "torch")

    @classmethod
    def check(cls, step: PlannedStep, upstream: Mapping[str, PlannedStep]) -> None:
        """The lists must be as long as the names that are given to them."""
        assert isinstance(step.params, CompareParams)
        entries, students = len(step.params.entries), len(step.params.students)
        wanted = {"samples": entries, "labelled": entries, "agreement": students}
        if step.inputs.get("segmentation"):
            wanted["segmentation"] = entries
        for port, count in wanted.items():
            given = len(step.inputs.get(port, ()))
            if given != count:
                names = "students" if port == "agreement" else "entries"
                raise PipelineError(f"steps.{step.name}.inputs.{port}", f"lists {given} steps, but params.{names} names {count}")

    @task(version=1)
    def compare(
        self,
        ctx: Context,
        params: CompareParams,
        *,
        reference: ImageSet,
        real: ImageSet,
        samples: list[ImageSet],
        labelled: list[ImageSet],
        segmentation: list[Report] | None = None,
        agreement: list[Report] | None = None,
    ) -> Report:
        """A row for each title, and two controls: the training images drawn again, and those blurred.

        `reference` are the training images with their domain; `real` are images of the same kind that nothing was trained on; `labelled`
        are the `samples` with masks; `segmentation` reports of unet.evaluate for a segmenter trained on each set alone; `agreement` reports
        of denoising-circuits.compare. Raises DataError for images of another size, and for training images without a domain.
        """
        from . import comparing

        return comparing.compare(ctx, params, reference, real, samples, labelled, segmentation or [], agreement or [])
