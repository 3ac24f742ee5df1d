"""`noise-paste`: textures in random shapes on clean images, with exact masks; what can be had without any defect."""

from __future__ import annotations

from collections.abc import Mapping

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Fanout, Method, Outline, PlannedStep, task
from fabloom.plugins.blocks.expected import pasted, trained

from .params import SampleParams, TrainParams


class NoisePaste(Method):
    """Defects by texture and Perlin noise, as DRAEM is trained on (Zavrtanik et al. 2021). No real defect is looked at.

    There is no network and no training: the model is the clean images. It is the floor under everything that has seen a defect.
    """

    name = "noise-paste"
    tags = frozenset({"one-shot"})
    preload = ("torch", "scipy.signal", "skimage.restoration")

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """Samples have the size that is asked for, or that of the images."""
        return pasted(step.params, inputs) if isinstance(step.params, SampleParams) else trained(inputs)

    @task(version=1)
    def train(self, ctx: Context, params: TrainParams, *, images: ImageSet, reference: ImageSet | None = None) -> Model:
        """Keep the clean images: those of `reference`, else of the set (domain 0), else the references that its images have.

        Images with a defect are not looked at. Equal channels are collapsed to one; colour stays colour. Raises DataError where there is
        no clean image.
        """
        from . import training

        return training.train(ctx, params, images, reference)

    @task(version=1, fanout=Fanout(count="count", unit=("batch",)))
    def sample(self, ctx: Context, params: SampleParams, *, model: Model, textures: ImageSet | None = None) -> ImageSet:
        """Paste textures: images with masks, domain, references (the clean images) and source.

        `textures` holds images of anything, of any size. A texture that would not show is drawn anew. Raises DataError where images alone
        are asked for as textures and there are none, and for a size that the clean images cannot be continued to.
        """
        from . import sampling

        return sampling.sample(ctx, params, model, textures)
