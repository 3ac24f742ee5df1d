"""`leaderboard`: puts the scores of several one-shot methods into the tables of the SinSEMI paper."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from fabloom.errors import PipelineError
from fabloom.kinds import ImageSet, Report
from fabloom.method import Context, Method, task

from .params import CompareParams

if TYPE_CHECKING:
    from fabloom.method import PlannedStep


class Leaderboard(Method):
    """One table for each of the SinSEMI paper, the published figures in columns of their own beside ours.

    A figure that cannot be reproduced is said to be so, with the reason; a published method that is not installed has a row with
    its published figures alone. A table of verdicts says of every published figure
    whether it is reproduced. Nothing is measured here: all scores come from `quality.evaluate` and `unet.evaluate`.
    """

    name = "leaderboard"
    preload = ("numpy",)

    @classmethod
    def check(cls, step: PlannedStep, upstream: Mapping[str, PlannedStep]) -> None:
        """The lists must be as long as the names that are given to them."""
        assert isinstance(step.params, CompareParams)
        wanted = {port: len(step.params.entries) for port in ("samples", "quality", "segmentation")}
        wanted["ablations"] = len(step.params.settings)
        for port, count in wanted.items():
            given = len(step.inputs.get(port, ()))
            if given != count:
                names = "settings" if port == "ablations" else "entries"
                raise PipelineError(f"steps.{step.name}.inputs.{port}", f"lists {given} steps, but params.{names} names {count}")

    @task(version=5)
    def compare(
        self,
        ctx: Context,
        params: CompareParams,
        *,
        reference: ImageSet,
        samples: list[ImageSet],
        quality: list[Report],
        segmentation: list[Report],
        ablations: list[Report] | None = None,
    ) -> Report:
        """Tables, pictures and notes.

        `reference` is the real set with its masks (the image with the defect, one without); `samples` are the labelled images of
        each entry; `quality` the reports of quality.evaluate on them; `segmentation` those of unet.evaluate, all on one test
        set and against one baseline; `ablations` further reports of quality.evaluate. Raises DataError for reports of other
        tasks, and for segmentation reports whose baselines differ.
        """
        from . import comparing

        return comparing.compare(ctx, params, reference, samples, quality, segmentation, ablations or [])
