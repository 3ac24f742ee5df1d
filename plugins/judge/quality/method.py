"""`quality`: how faithful, varied and new generated images are, and where their defects lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fabloom.errors import PipelineError
from fabloom.kinds import ImageSet, Report
from fabloom.method import Context, Method, task

from .params import EvaluateParams

if TYPE_CHECKING:
    from fabloom.method import PlannedStep
    from fabloom.progress import Messenger


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

    @task(version=7)
    def evaluate(
        self, ctx: Context, params: EvaluateParams, *, images: ImageSet, reference: ImageSet, metrics: list[Report] | None = None
    ) -> Report:
        """Copies, defects and where they lie, noise; LPIPS and SIFID with and without it, diversity, sliced Wasserstein, nearest patches.

        `metrics` are reports of other plugins' metrics on the same images and reference (see `metric_report`); they get the
        same intervals and a place among the scores. A score whose weights are missing is left out and a note says so; nothing
        is computed on random weights. Raises DataError for sizes or channels that differ, for images under 32 pixels a side,
        for a reference set that leaves open which image is the reference, and for a metric of other images.
        """
        from . import evaluation

        return evaluation.evaluate(ctx, params, images, reference, metrics or [])
