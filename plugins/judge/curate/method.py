"""`curate`: which of many labelled images to train on, and what a segmenter misses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fabloom.errors import PipelineError
from fabloom.kinds import ImageSet, Model, Report
from fabloom.method import Context, Method, Outline, PlannedStep, task

from .params import CompareParams, MissesParams, SelectParams


class Curate(Method):
    """Choosing what to train on: of many labelled images those that are no copies, look like the real ones, and teach the most.

    `misses` says which defects a segmenter does not find; `select` keeps the images that it gets wrong, or that are like those. The two and
    a training are a round of a closed loop.
    """

    name = "curate"
    preload = ("torch", "segmentation_models_pytorch", "scipy.ndimage")

    @classmethod
    def check(cls, step: PlannedStep, upstream: Mapping[str, PlannedStep]) -> None:
        """The list of reports must be as long as the cells that say what they are."""
        if isinstance(step.params, CompareParams) and len(step.inputs["misses"]) != len(step.params.cells):
            told = f"lists {len(step.inputs['misses'])} reports, but params.cells names {len(step.params.cells)}"
            raise PipelineError(f"steps.{step.name}.inputs.misses", told)

    @classmethod
    def check_inputs(cls, step: PlannedStep, manifests: Mapping[str, Mapping[str, Any]]) -> None:
        """Images without masks cannot be judged."""
        images = manifests.get("images")
        if images is not None and "masks" not in images["arrays"]:
            place, key = f"steps.{step.name}.inputs.images", str(images["key"])[:12]
            raise PipelineError(place, f"{step.task} needs masks, and ImageSet {key} has none; label it first (reference-difference.label)")

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """Of `select`: images of the pool's size, as many at most as are asked for."""
        pool = inputs.get("images")
        if not isinstance(step.params, SelectParams) or pool is None or "images" not in pool.arrays:
            return None
        count = pool.arrays["images"][0][0]
        return Outline.of_image(pool.image, pool.with_count(min(step.params.count, count)).size)

    @task(version=1)
    def select(
        self,
        ctx: Context,
        params: SelectParams,
        *,
        images: ImageSet,
        model: Model,
        reference: ImageSet,
        misses: Report | None = None,
    ) -> ImageSet:
        """The images of a pool to train on, in the pool's order, with masks, references, classes and sources as they are there.

        Left out are images that repeat another or copy one of the real images `reference`, and those whose patches lie outside the range of
        the real ones. Of the rest those are kept that `model` gets most wrong (its loss), spread over place and size of the defects; with
        `misses`, a report of this method's task of that name, half by loss and half by how often the model misses defects like theirs.
        Clean images are chosen by loss, as many as their share in the pool. How many were left out for which reason, rows and losses are in
        the attributes. Where fewer are fit than are asked for all of these are kept, and the log says so; DataError where none is, for a
        pool without masks, for sizes or channels that do not fit, and for a model that is no segmenter.
        """
        from . import selecting

        return selecting.select(ctx, params, images, model, reference, misses)

    @task(version=1)
    def misses(self, ctx: Context, params: MissesParams, *, images: ImageSet, model: Model) -> Report:
        """Every defect of a labelled set as a row: where it lies, size, contrast, how sure the model is, and whether it is found.

        What `select` and a person need to know of what a model misses. Take a set that nothing else is judged on: who chooses what to train
        on by the test images has seen them. Raises DataError for a set without masks or defects, and for a model that is no segmenter.
        """
        from . import missing

        return missing.misses(ctx, params, images, model)

    @task(version=1)
    def compare(self, ctx: Context, params: CompareParams, *, misses: list[Report]) -> Report:
        """Reports of `misses` on one test set, held against each other by arm and round: do misses fall, and further than in the control?

        Raises DataError for a list of another length than `cells`, for reports of something else, and for those of several test sets.
        """
        from . import comparing

        return comparing.compare(ctx, params, misses)
