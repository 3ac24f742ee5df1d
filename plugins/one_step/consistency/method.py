"""`consistency`: one or a few steps to an image, distilled from a diffusion model or trained from images alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Fanout, Method, Outline, PlannedStep, task
from fabloom.plugins.blocks.expected import samples, trained

from .params import SampleParams, TrainParams

if TYPE_CHECKING:
    from fabloom.network import Network


class Consistency(Method):
    """Consistency models (Song et al. 2023): a U-Net that gives the same end from every point of a path, so that one evaluation is enough.

    With a `ddpm` teacher it is distilled from the teacher's steps (Luo et al. 2023), without one it is trained on images alone (Song &
    Dhariwal 2023).
    """

    name = "consistency"
    tags = frozenset({"one-step"})
    preload = ("torch", "torch._dynamo", "diffusers")

    @classmethod
    def networks(cls, model: Model) -> Mapping[str, Network]:
        """Noise to image: `one-step`."""
        from . import exporting

        return exporting.networks(model)

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """Samples have the shape of the training images."""
        return samples(step.params, inputs) if isinstance(step.params, SampleParams) else trained(inputs)

    @task(version=2)
    def train(
        self, ctx: Context, params: TrainParams, *, images: ImageSet, teacher: Model | None = None, autoencoder: Model | None = None
    ) -> Model:
        """Distil `teacher`, a model of ddpm.train, or train on the images alone, or on the latents that `autoencoder` has of them.

        Of a teacher of latents the student is one too. Raises DataError for a teacher of another method, of classes, or of other images,
        for one beside an autoencoder, and for images that the levels cannot halve.
        """
        from . import training

        return training.train(ctx, params, images, teacher, autoencoder)

    @task(version=2, fanout=Fanout(count="count", unit=("batch",)))
    def sample(self, ctx: Context, params: SampleParams, *, model: Model) -> ImageSet:
        """Draw images in one step, or in a few with noise between them. Image i follows from (seed, i) alone, up to rounding."""
        from . import sampling

        return sampling.sample(ctx, params, model)
