"""`gpdm`: one image in, images out whose patches are distributed as its own; no network, no training."""

from __future__ import annotations

from collections.abc import Mapping

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Fanout, Method, Outline, PlannedStep, task
from fabloom.plugins.blocks.expected import grown, rearranged

from .params import SampleParams, TrainParams


class Gpdm(Method):
    """GPDM: generating by directly matching patch distributions (Elnekave and Weiss 2022).

    From the coarsest scale up, the pixels themselves are optimised: the sliced Wasserstein distance between the patches of the canvas and
    those of the image falls, in directions that are drawn anew at every step.
    """

    name = "gpdm"
    tags = frozenset({"one-shot"})

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """Samples have the size that is asked for, or that of the image."""
        return grown(step.params, inputs) if isinstance(step.params, SampleParams) else rearranged(inputs)

    @task(version=1)
    def train(self, ctx: Context, params: TrainParams, *, images: ImageSet) -> Model:
        """Keep one image of the set and the sizes of its scales; nothing is trained.

        Equal channels are collapsed to one; colour stays colour. Raises DataError for a set that leaves a choice, and a constant image.
        """
        from fabloom.plugins.blocks import patch_scales

        return patch_scales.write_reference(ctx, "gpdm", params, images)

    @task(version=2, fanout=Fanout(count="count", unit=("batch",)))
    def sample(self, ctx: Context, params: SampleParams, *, model: Model) -> ImageSet:
        """Generate images of any size.

        Every image is held against the training image by itself; published, all images of a call are pooled, and only together have its
        patches. Raises DataError where patches do not fit in the coarsest scale of the image or of the output.
        """
        from . import generation

        return generation.sample(ctx, params, model)
