"""`consingan`: one image in, images of any size with its patches out (one generator that grows, stages trained concurrently)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fabloom.errors import PipelineError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Fanout, Method, Outline, PlannedStep, task
from fabloom.plugins.blocks.adversarial_params import check_size
from fabloom.plugins.blocks.expected import grown, pyramid

from .params import SampleParams, TrainParams

if TYPE_CHECKING:
    from fabloom.network import Network


class ConSinGan(Method):
    """ConSinGAN: improved techniques for training single-image GANs (Hinz et al. 2021).

    Features go from stage to stage instead of images, and the newest stages learn together at falling rates. The coarsest noise that shall
    give the image is the image itself.
    """

    name = "consingan"
    tags = frozenset({"one-shot"})

    @classmethod
    def check(cls, step: PlannedStep, upstream: Mapping[str, PlannedStep]) -> None:
        """Refuse a size that a composite does not have, and a generator that alters images where there are none."""
        check_size(step)
        model = upstream.get("model")
        if isinstance(step.params, SampleParams) and "composite" not in step.inputs and model is not None:
            goal = getattr(model.params, "goal", "generate")
            if goal != "generate":
                why = f"step '{model.name}' is trained to {goal}: connect the images to alter"
                raise PipelineError(f"steps.{step.name}.inputs.composite", why)

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """Samples have the size that is asked for, or that of the training image."""
        if isinstance(step.params, SampleParams):
            return grown(step.params, inputs)
        return pyramid(step.params, inputs) if isinstance(step.params, TrainParams) else None

    @classmethod
    def networks(cls, model: Model) -> Mapping[str, Network]:
        """One pass: `generator`."""
        from . import exporting

        return exporting.networks(model)

    @task(version=1)
    def train(self, ctx: Context, params: TrainParams, *, images: ImageSet) -> Model:
        """Train on one image of the set.

        The model keeps the generator and its noise amplitudes. Equal channels are collapsed to one; colour stays colour. Raises DataError
        for a set that leaves a choice, a constant image, and one smaller than `coarsest`.
        """
        from . import training

        return training.train(ctx, params, images)

    @task(version=1, fanout=Fanout(count="count", unit=("batch",)))
    def sample(self, ctx: Context, params: SampleParams, *, model: Model, composite: ImageSet | None = None) -> ImageSet:
        """Generate images of any size, or harmonise composites.

        `composite` holds images with something pasted in or moved, and masks of it: sample i has composite i (from the start again where
        there are fewer) brought to the patches of the training image, in whose place at the first stage it enters, and keeps it unchanged
        away from its mask. Raises DataError for a size of which no pixel of the coarsest stage is left, for composites of another size or
        channel count or without masks, and without them for a model that was trained on altered images.
        """
        from . import sampling

        return sampling.sample(ctx, params, model, composite)
