"""`sindiffusion`: one image in, images of any size out (a diffusion model at one scale, whose network sees patches)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Fanout, Method, Outline, PlannedStep, task
from fabloom.plugins.blocks.expected import grown, pyramid

from .params import SampleParams, TrainParams

if TYPE_CHECKING:
    from fabloom.network import Network


class SinDiffusion(Method):
    """SinDiffusion: a diffusion model of one natural image (Wang et al. 2022).

    One denoising model at the image's own size. What it makes is local, since its network has no attention and few levels, and it learns
    from views of the image that are stretched a little.
    """

    name = "sindiffusion"
    tags = frozenset({"one-shot"})

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """Samples have the size that is asked for, or that of the training image."""
        return grown(step.params, inputs) if isinstance(step.params, SampleParams) else pyramid(step.params, inputs)

    @classmethod
    def networks(cls, model: Model) -> Mapping[str, Network]:
        """One evaluation: `denoiser`."""
        from . import generation

        return generation.SCALE.networks(model)

    @task(version=1)
    def train(self, ctx: Context, params: TrainParams, *, images: ImageSet) -> Model:
        """Train on one image of the set.

        The model keeps the averaged weights. Equal channels are collapsed to one; colour stays colour. Raises DataError for a set that
        leaves a choice, a constant image, and one of less than 16 pixels either way.
        """
        from . import generation

        return generation.train(ctx, params, images)

    @task(version=1, fanout=Fanout(count="count", unit=("batch",)))
    def sample(self, ctx: Context, params: SampleParams, *, model: Model) -> ImageSet:
        """Generate images of any size.

        Raises DataError for the model of another method, and for more steps than noise levels.
        """
        from . import generation

        return generation.sample(ctx, params, model)
