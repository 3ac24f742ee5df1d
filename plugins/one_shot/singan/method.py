"""`singan`: one image in, images of any size with its patches out (a generative adversarial network for every scale)."""

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


class SinGan(Method):
    """SinGAN: a generative model of one natural image (Shaham et al. 2019).

    At every scale a generator adds detail to the upsampled image of the scale before, and a critic that sees 11 x 11 pixels says
    whether its patches are those of the image. One pass makes a sample.
    """

    name = "singan"
    tags = frozenset({"one-shot"})

    @classmethod
    def check(cls, step: PlannedStep, upstream: Mapping[str, PlannedStep]) -> None:
        """Refuse a composite that would enter nowhere, and a size that it does not have."""
        check_size(step)
        if isinstance(step.params, SampleParams) and "composite" in step.inputs and step.params.start == 0:
            why = "composites enter at scale 1 or a finer one; at 0 nothing would be seen of them"
            raise PipelineError(f"steps.{step.name}.params.start", why)

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

        The model keeps the generators, their noise amplitudes, and the noise that gives the image back. Equal channels are collapsed to
        one; colour stays colour. Raises DataError for a set that leaves a choice, a constant image, and one smaller than `coarsest`.
        """
        from . import training

        return training.train(ctx, params, images)

    @task(version=1, fanout=Fanout(count="count", unit=("batch",)))
    def sample(self, ctx: Context, params: SampleParams, *, model: Model, composite: ImageSet | None = None) -> ImageSet:
        """Generate images of any size, or harmonise composites.

        `composite` holds images with something pasted in or painted over, and masks of it: sample i has composite i (from the start again
        where there are fewer) brought to the patches of the training image, from scale `start` on, and keeps it unchanged away from its
        mask. Raises DataError for a start that the model does not have, and for composites of another size or channel count or without
        masks.
        """
        from . import sampling

        return sampling.sample(ctx, params, model, composite)
