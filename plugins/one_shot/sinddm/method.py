"""`sinddm`: one image in, images of any size with its patches out (a diffusion model over the scales of a pyramid)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from fabloom.errors import PipelineError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Fanout, Method, Outline, PlannedStep, task
from fabloom.plugins.blocks.expected import grown, pyramid
from fabloom.plugins.blocks.scale_params import check_anchor

from .params import TIMES, SampleParams, TrainParams

if TYPE_CHECKING:
    from fabloom.network import Network


class SinDdm(Method):
    """SinDDM: a denoising diffusion model of one image's pyramid (Kulikov et al. 2023).

    A fully convolutional network learns to take away noise at the coarsest scale, and noise and blur at every finer scale, where
    generation starts from the upsampled result of the scale before. Only patch statistics are learnt.
    """

    name = "sinddm"
    tags = frozenset({"one-shot"})
    ablations: ClassVar[dict[str, list[dict[str, Any]]]] = {"steps": [{"steps": 10}, {"steps": 20}, {"steps": 50}, {"steps": TIMES}]}

    @classmethod
    def check(cls, step: PlannedStep, upstream: Mapping[str, PlannedStep]) -> None:
        """Refuse anchors that cannot be, and what a composite, which is repaired at the finest scale alone, would not use."""
        check_anchor(step, upstream)
        if isinstance(step.params, SampleParams) and "reference" in step.inputs and step.params.extra_scales:
            why = "goes beyond the finest scale, where a reference has no detail: leave one of the two out"
            raise PipelineError(f"steps.{step.name}.params.extra_scales", why)
        if isinstance(step.params, SampleParams) and "composite" in step.inputs:
            unused = [name for name in ("regions", "extra_scales", "size", "start") if getattr(step.params, name)]
            if unused:
                why = "a composite is repaired at the finest scale in its own size, where this is not used: leave it out"
                raise PipelineError(f"steps.{step.name}.params.{unused[0]}", why)

    @classmethod
    def expect(cls, step: PlannedStep, inputs: Mapping[str, Outline]) -> Outline | None:
        """Samples have the size that is asked for, or that of the training image."""
        if isinstance(step.params, SampleParams):
            return grown(step.params, inputs)
        return pyramid(step.params, inputs) if isinstance(step.params, TrainParams) else None

    @classmethod
    def networks(cls, model: Model) -> Mapping[str, Network]:
        """One evaluation at one scale: `scale-network`."""
        from . import exporting

        return exporting.networks(model)

    @task(version=4)
    def train(self, ctx: Context, params: TrainParams, *, images: ImageSet, reference: ImageSet | None = None) -> Model:
        """Train on one image of the set.

        `reference` is the clean image of the same place, which anchors the structure; without it the image's own reference in the
        set, or the set's clean image, may. The model keeps the averaged weights, the image itself, its pyramid's sizes and what
        anchors it. Equal channels are collapsed to one; colour stays colour. Raises DataError for a set that leaves a choice, a
        constant image, an image too small for a pyramid, a lattice anchor where the image has no periodic structure, and a
        reference anchor where there is no clean image of the same place.
        """
        from . import training

        return training.train(ctx, params, images, reference)

    @task(version=1, fanout=Fanout(count="count", unit=("batch",)))
    def sample(
        self, ctx: Context, params: SampleParams, *, model: Model, composite: ImageSet | None = None, reference: ImageSet | None = None
    ) -> ImageSet:
        """Generate images of any size, or harmonise composites.

        `composite` holds images with something pasted in, and masks of it: sample i repairs composite i (from the start again
        where there are fewer) and keeps it unchanged away from its mask. Raises DataError for regions outside the images, and for
        composites of another size or channel count or without masks. `reference` holds clean images whose structure the samples
        of a model that was anchored to one follow, in turn, instead of the training's; the output has their size, and keeps them
        beside each sample as its references.
        """
        from . import sampling

        return sampling.sample(ctx, params, model, composite, reference)
