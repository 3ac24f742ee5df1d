"""`sinsemi`: one image in, many faithful and varied images out (multi-scale Schroedinger-bridge flow matching)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Fanout, Method, Outline, PlannedStep, task
from fabloom.plugins.blocks.expected import grown, pyramid
from fabloom.plugins.blocks.scale_params import check_anchor

from .params import SampleParams, TrainParams

if TYPE_CHECKING:
    from fabloom.network import Network
    from fabloom.progress import Messenger


class SinSemi(Method):
    """SinSEMI: conditional flow matching on a Schroedinger bridge between the scales of one image's pyramid.

    A fully convolutional network learns, at the coarsest scale, to make the image from noise, and at every finer scale to make
    it from the blurred result of the scale before. Only patch statistics are learnt, so defects appear at new places.
    """

    name = "sinsemi"
    tags = frozenset({"one-shot"})
    variants: ClassVar[dict[str, dict[str, Any]]] = {"energy": {"guidance": {"strength": 1.0}}}
    """Sampling parameters of further entries of a leaderboard; the paper has a row with energy guidance."""
    ablations: ClassVar[dict[str, list[dict[str, Any]]]] = {
        "steps": [{"steps": steps, "guidance": {"strength": 1.0}} for steps in (10, 50, 100)],
        "guidance": [{"guidance": {"strength": strength}} for strength in (0.0, 0.1, 0.5, 1.0)],
    }
    """Sampling parameters of the paper's tables 4 (steps, with guidance) and 5 (strength)."""

    @classmethod
    def check(cls, step: PlannedStep, upstream: Mapping[str, PlannedStep]) -> None:
        """Refuse anchors that cannot be, and a reference that neither anchor nor guidance would use."""
        check_anchor(step, upstream, guided=isinstance(step.params, SampleParams) and step.params.guidance.strength > 0)

    @classmethod
    def prepare(cls, steps: Sequence[PlannedStep], messenger: Messenger) -> None:
        """Fetch the trunk of LPIPS that guidance needs."""
        from fabloom.plugins.blocks import weights  # brings urllib, which `fabloom --help` must not pay for

        wanted: dict[str, str] = {}
        for step in steps:
            if isinstance(step.params, SampleParams) and step.params.guidance.strength > 0:
                wanted.setdefault(step.params.guidance.net, step.name)
        for net, name in wanted.items():
            try:
                weights.verified(weights.TRUNKS[net], messenger)
            except weights.MissingWeights as problem:
                why = f"steps.{name} is guided by LPIPS, and {problem} Without guidance: guidance.strength=0."
                raise weights.MissingWeights(why) from problem

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
        set, or the set's clean image, may. The model keeps the averaged weights, the image itself (guidance compares with it),
        its pyramid's sizes and what anchors it. Equal channels are collapsed to one; colour stays colour. Raises DataError for a
        set that leaves a choice, a constant image, an image too small for a pyramid, a lattice anchor where the image has no
        periodic structure, and a reference anchor where there is no clean image of the same place.
        """
        from . import training

        return training.train(ctx, params, images, reference)

    @task(version=2, fanout=Fanout(count="count", unit=("batch",)))
    def sample(self, ctx: Context, params: SampleParams, *, model: Model, reference: ImageSet | None = None) -> ImageSet:
        """Generate images of any size.

        `reference` holds clean images whose structure the samples of a model that was anchored to one follow, in turn, instead
        of the training's; the output has their size, and keeps them beside each sample as its references. It is also what guidance
        pulls towards instead of the training image; with guidance and another `size` it is needed, in that size. Raises DataError
        where it is missing, of another size, or would be ignored, and EnvironmentProblem where LPIPS lacks weights.
        """
        from . import sampling

        return sampling.sample(ctx, params, model, reference)
