"""`sinsemi`: one image in, many faithful and varied images out (multi-scale Schroedinger-bridge flow matching)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from fabloom.errors import PipelineError
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context, Method, PlannedStep, task

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
        """Refuse a reference that guidance would not use."""
        if isinstance(step.params, SampleParams) and step.params.guidance.strength == 0 and "reference" in step.inputs:
            why = "guidance.strength is 0, so the reference would be ignored: set a strength or drop the input"
            raise PipelineError(f"steps.{step.name}.inputs.reference", why)

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
    def networks(cls, model: Model) -> Mapping[str, Network]:
        """One evaluation at one scale: `scale-network`."""
        from . import exporting

        return exporting.networks(model)

    @task(version=1)
    def train(self, ctx: Context, params: TrainParams, *, images: ImageSet) -> Model:
        """Train on one image of the set.

        The model keeps the averaged weights, the image itself (guidance compares with it), and its pyramid's sizes. Equal
        channels are collapsed to one; colour stays colour. Raises DataError for a set that leaves a choice, a constant image,
        an image too small for a pyramid, and a lattice anchor where the image has no periodic structure.
        """
        from . import training

        return training.train(ctx, params, images)

    @task(version=1)
    def sample(self, ctx: Context, params: SampleParams, *, model: Model, reference: ImageSet | None = None) -> ImageSet:
        """Generate images of any size.

        `reference` is what guidance pulls towards instead of the training image; with guidance and another `size` it is needed,
        in that size. Raises DataError where it is missing or of another size, and EnvironmentProblem where LPIPS lacks weights.
        """
        from . import sampling

        return sampling.sample(ctx, params, model, reference)
