"""`gpnn`: one image in, images out that are made of its patches alone; no network, no training."""

from __future__ import annotations

from collections.abc import Mapping

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Fanout, Method, Outline, PlannedStep, task
from fabloom.plugins.blocks.expected import grown, rearranged

from .params import SampleParams, TrainParams


class Gpnn(Method):
    """GPNN: generative patch nearest neighbours (Granot et al. 2022).

    From the coarsest scale up, every patch of the canvas is replaced by its nearest patch of the image, and overlaps are averaged. Each
    sample takes some seconds at 96 x 96 pixels. It cannot make what the image does not hold: a defect comes as it is, elsewhere.
    """

    name = "gpnn"
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

        return patch_scales.write_reference(ctx, "gpnn", params, images)

    @task(version=1, fanout=Fanout(count="count", unit=("batch",)))
    def sample(self, ctx: Context, params: SampleParams, *, model: Model) -> ImageSet:
        """Generate images of any size. Exact searches; the arithmetic grows with the square of the pixels.

        Raises DataError where patches do not fit in the coarsest scale of the image or of the output.
        """
        from . import generation

        return generation.sample(ctx, params, model)
