"""`ddpm`: denoising diffusion with a U-Net (Ho et al. 2020), trained here and sampled with diffusers' schedulers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Fanout, Method, Outline, PlannedStep, task
from fabloom.plugins.blocks.expected import samples, trained

from .params import SampleParams, TrainParams

if TYPE_CHECKING:
    from fabloom.network import Network as Graph
    from fabloom.network import Pretrained


class Ddpm(Method):
    """Denoising diffusion: x_t = a_t x_0 + s_t n, a U-Net that predicts n, v or x_0, and a sampler that walks back.

    The model keeps the averaged weights and everything diffusers needs to rebuild network and scheduler.
    """

    name = "ddpm"
    preload = ("torch", "torch._dynamo", "diffusers")

    @classmethod
    def networks(cls, model: Model) -> Mapping[str, Graph]:
        """The U-Net: `unet`."""
        from . import exporting

        return exporting.networks(model)

    @classmethod
    def pretrained(cls, model: Model) -> Mapping[str, Pretrained]:
        """A `DDPMPipeline`, or U-Net and scheduler where the model has classes."""
        from . import exporting

        return exporting.pretrained(model)

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """Samples have the shape of the training images."""
        return samples(step.params, inputs) if isinstance(step.params, SampleParams) else trained(inputs)

    @task(version=2)
    def train(self, ctx: Context, params: TrainParams, *, images: ImageSet, autoencoder: Model | None = None) -> Model:
        """Train on a set, or on the latents that `autoencoder`, a model of autoencoder.train, has of it.

        Raises DataError for images that the levels cannot halve and for classes that the set does not have.
        """
        from . import training

        return training.train(ctx, params, images, autoencoder)

    @task(version=3, fanout=Fanout(count="count", unit=("batch",)))
    def sample(self, ctx: Context, params: SampleParams, *, model: Model) -> ImageSet:
        """Draw images. Image i starts from noise of (seed, i) alone, as does all noise it meets on its way.

        A larger count therefore keeps the earlier images, and another batch size changes them by rounding only. A model with
        classes gives `labels` (or `domain`) with the images.
        """
        from . import sampling

        return sampling.sample(ctx, params, model)
