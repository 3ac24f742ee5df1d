"""`mean-flow`: one-step generation by average velocities, from images alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Fanout, Method, Outline, PlannedStep, task
from fabloom.plugins.blocks.expected import samples, trained

from .params import SampleParams, TrainParams

if TYPE_CHECKING:
    from fabloom.network import Network


class MeanFlow(Method):
    """MeanFlow (Geng et al. 2025): a U-Net that gives the average velocity of a flow between two times, so that one step goes all the way.

    No teacher and no recorded data: the rival that a distilled one-step student must beat.
    """

    name = "mean-flow"
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
    def train(self, ctx: Context, params: TrainParams, *, images: ImageSet, autoencoder: Model | None = None) -> Model:
        """Train on a set, or on the latents that `autoencoder` has of it; in float32, since the target holds a derivative.

        Raises DataError for images that the levels cannot halve.
        """
        from . import training

        return training.train(ctx, params, images, autoencoder)

    @task(version=2, fanout=Fanout(count="count", unit=("batch",)))
    def sample(self, ctx: Context, params: SampleParams, *, model: Model) -> ImageSet:
        """Draw images in one step, or in a few equal ones. Image i follows from (seed, i) alone, up to rounding."""
        from . import sampling

        return sampling.sample(ctx, params, model)
