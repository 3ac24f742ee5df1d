"""`consingan`: one image in, images of any size with its patches out (one generator that grows, stages trained concurrently)."""

from __future__ import annotations

from collections.abc import Mapping

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Fanout, Method, Outline, PlannedStep, task
from fabloom.plugins.blocks.expected import grown, pyramid

from .params import SampleParams, TrainParams


class ConSinGan(Method):
    """ConSinGAN: improved techniques for training single-image GANs (Hinz et al. 2021).

    Features go from stage to stage instead of images, and the newest stages learn together at falling rates. The coarsest noise that shall
    give the image is the image itself.
    """

    name = "consingan"
    tags = frozenset({"one-shot"})

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """Samples have the size that is asked for, or that of the training image."""
        if isinstance(step.params, SampleParams):
            return grown(step.params, inputs)
        return pyramid(step.params, inputs) if isinstance(step.params, TrainParams) else None

    @task(version=1)
    def train(self, ctx: Context, params: TrainParams, *, images: ImageSet) -> Model:
        """Train on one image of the set.

        The model keeps the generator and its noise amplitudes. Equal channels are collapsed to one; colour stays colour. Raises DataError
        for a set that leaves a choice, a constant image, and one smaller than `coarsest`.
        """
        from . import training

        return training.train(ctx, params, images)

    @task(version=1, fanout=Fanout(count="count", unit=("batch",)))
    def sample(self, ctx: Context, params: SampleParams, *, model: Model) -> ImageSet:
        """Generate images of any size. Raises DataError for one of which no pixel of the coarsest stage is left."""
        from . import sampling

        return sampling.sample(ctx, params, model)
