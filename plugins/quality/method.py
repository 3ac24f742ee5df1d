"""`quality`: how faithful, varied and new generated images are, and where their defects lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from fabloom.artifacts import ImageSet, Report
from fabloom.context import Context
from fabloom.errors import PipelineError
from fabloom.method import Method, task
from fabloom.params import Params
from fabloom.plugins.blocks.labels import LabelParams

if TYPE_CHECKING:
    from fabloom.plan import PlannedStep
    from fabloom.progress import Messenger


class EvaluateParams(Params):
    """What is measured. Every score is a mean over the images with a bootstrap interval."""

    reference_row: int | None = Field(None, ge=0, description="row of the reference image; left out: the only one with a defect")
    clean_row: int | None = Field(
        None, ge=0, description="row of the clean image of the reference pair; left out: the first clean one (domain 0)"
    )
    nets: tuple[Literal["squeeze", "alex", "vgg"], ...] = Field(
        ("squeeze", "alex", "vgg"),
        description="trunks of LPIPS (published: squeeze); one whose weights are missing is left out, with a note",
    )
    neighbours: int = Field(
        2, ge=1, description="diversity: each image is compared with so many others, those before it in a ring of random order"
    )
    reach: int = Field(7, ge=0, description="pixels by which an image may be shifted either way to look for a copy of the reference")
    copy_below: float = Field(
        0.6,
        gt=0,
        lt=1,
        description="a copy is nearer to the reference than this multiple of what a second acquisition would be; "
        "the same scene without its noise is at 0.71",
    )
    labels: LabelParams = Field(LabelParams(preset="published"), description="what counts as a defect, as in reference-difference.label")
    resamples: int = Field(2000, ge=100, description="bootstrap resamples of the images")
    confidence: float = Field(0.95, gt=0.5, lt=1, description="coverage of the intervals")
    shown: int = Field(17, ge=1, description="generated images of the contact sheet")


class Quality(Method):
    """Scores of generated images against the one image that they were learnt from (the evaluation of SinSEMI).

    The reference set holds the image with the defect and, for ratios and for counting defects, a clean image of the same
    scene. Each distance is given raw, times 100, and as a ratio to the same distance between those two.
    """

    name = "quality"
    preload = ("torch", "lpips", "torchvision")

    @classmethod
    def check(cls, step: PlannedStep, upstream: Mapping[str, PlannedStep]) -> None:
        """Each metric that joins must be named once, and be of the images that are evaluated."""
        given = list(step.inputs.get("metrics", ("",)))
        if not given:
            raise PipelineError(f"steps.{step.name}.inputs.metrics", "lists no step; leave it out where no metric joins")
        if len(set(given)) < len(given):
            raise PipelineError(f"steps.{step.name}.inputs.metrics", "lists a step, or two that are alike, twice; list each once")
        for place, metric in upstream.items():
            for port in ("images", "reference") if place.startswith("metrics[") else ():
                if metric.inputs.get(port) != step.inputs[port]:
                    why = f"'{metric.name}' has another `{port}` than '{step.name}'; give both steps the same"
                    raise PipelineError(f"steps.{step.name}.inputs.{place}", why)

    @classmethod
    def prepare(cls, steps: Sequence[PlannedStep], messenger: Messenger) -> None:
        """Fetch the networks of LPIPS and SIFID, and tell which scores will be left out for want of them, before hours of work."""
        from fabloom.plugins.blocks import weights  # brings urllib, which `fabloom --help` must not pay for

        nets = dict.fromkeys(net for step in steps if isinstance(step.params, EvaluateParams) for net in step.params.nets)
        wanted = {f"LPIPS {net}": [weights.TRUNKS[net]] for net in nets} | {"SIFID": list(weights.SIFID_STEMS.values())}
        for score, names in wanted.items():
            try:
                weights.first(names, lambda name: weights.verified(name, messenger))
            except weights.MissingWeights as problem:
                messenger.log(f"{score} will be left out: {problem}")

    @task(version=2)
    def evaluate(
        self, ctx: Context, params: EvaluateParams, *, images: ImageSet, reference: ImageSet, metrics: list[Report] | None = None
    ) -> Report:
        """SIFID, LPIPS, diversity, sliced Wasserstein, copies, nearest patches, defects and where they lie.

        `metrics` are reports of other plugins' metrics on the same images and reference (see `metric_report`); they get the
        same intervals and a place among the scores. A score whose weights are missing is left out and a note says so; nothing
        is computed on random weights. Raises DataError for sizes or channels that differ, for images under 32 pixels a side,
        for a reference set that leaves open which image is the reference, and for a metric of other images.
        """
        from . import evaluation

        return evaluation.evaluate(ctx, params, images, reference, metrics or [])
