"""`autoencoder`: images to small latents and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fabloom.kinds import ImageSet, Model, Report
from fabloom.method import Context, Method, Outline, PlannedStep, task
from fabloom.plugins.blocks.expected import trained

from .params import EvaluateParams, TrainParams

if TYPE_CHECKING:
    from fabloom.network import Network, Pretrained


class Autoencoder(Method):
    """A convolutional autoencoder with a normal posterior (AutoencoderKL of diffusers): the codec of latent diffusion.

    Its model is the optional input `autoencoder` of ddpm, consistency and mean-flow, which then learn latents, and carry it inside.
    """

    name = "autoencoder"
    preload = ("torch", "torch._dynamo", "diffusers")

    @classmethod
    def networks(cls, model: Model) -> Mapping[str, Network]:
        """`encoder`, image to standardised latent, and `decoder`, back."""
        from . import exporting

        return exporting.networks(model)

    @classmethod
    def pretrained(cls, model: Model) -> Mapping[str, Pretrained]:
        """The `AutoencoderKL`, with the mean and deviation of its latents in its config."""
        from . import exporting

        return exporting.pretrained(model)

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """A model of images of this shape."""
        return trained(inputs) if isinstance(step.params, TrainParams) else None

    @task(version=1)
    def train(self, ctx: Context, params: TrainParams, *, images: ImageSet) -> Model:
        """Train on a set, which should have defects in it: an autoencoder of clean images takes them away.

        Raises DataError for widths that the groups do not divide, and for images that the levels cannot halve.
        """
        from . import training

        return training.train(ctx, params, images)

    @task(version=1)
    def evaluate(self, ctx: Context, params: EvaluateParams, *, model: Model, images: ImageSet) -> Report:
        """What comes back of `images`: errors of defects against the background's, noise, mean and deviation of the latents.

        Raises DataError for images of another size or number of channels than can be halved, and for a set without masks.
        """
        from . import evaluation

        return evaluation.evaluate(ctx, params, model, images)
