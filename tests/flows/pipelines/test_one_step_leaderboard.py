"""`one-step-leaderboard`: what it is made of, and whole in miniature."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fabloom
from fabloom.errors import PipelineError
from fabloom.flows.pipelines.one_step_leaderboard import others
from fabloom.plugins.blocks import unet2d
from fabloom.plugins.blocks.backbone import Network
from fabloom.plugins.blocks.operations import counted
from fabloom.plugins.one_step.mean_flow.flow import errors, weighted
from fabloom.plugins.one_step.mean_flow.networks import forward_differentiable, velocity
from fabloom.registry import Registry
from fabloom.storage.backends.local import LocalStore

TINY: dict[str, Any] = {
    "trainings": 1, "budget": 0.001, "count": 12, "images": 24, "held_out": 16, "segmenter": 1
}  # fmt: skip


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load()


def test_every_row_has_samples_labels_and_a_segmenter_of_equal_budget(registry: Registry) -> None:
    steps = registry.pipeline("one-step-leaderboard", {"trainings": 2}).steps
    table = steps["table"]
    titles = [entry["title"] for entry in table.params["entries"]]
    assert len(titles) == 2 * len(set(titles)) == len(table.inputs["samples"]) == len(table.inputs["segmentation"])
    assert {"ddim, 1 step", "ddim, 50 steps", "recurrence, 5 steps", "mean-flow, 1 step"} <= set(titles)
    assert {"circuits, by the end", "circuits, by the sum of residuals", "regression, noise to image"} <= set(titles)
    assert len({(s.params["steps"], s.params["batch"]) for s in steps.values() if s.task == "unet.train"}) == 1
    seeds = {name: step.seed for name, step in steps.items() if step.task == "ddpm.train"}
    assert seeds == {"base_0": 0, "base_1": 1}
    assert steps["consistency_1"].inputs["teacher"] == steps["circuit_1"].inputs["base"] == "base_1"
    trained = [step for step in steps.values() if step.task.endswith((".train", ".distill", ".record"))]
    assert not any("real" in step.inputs.values() for step in trained), "nothing is trained on what it is held against"


def test_budgets_are_equal_in_counted_operations(registry: Registry) -> None:
    """An image of one optimizer step: forward and backward of the diffusion model, with a teacher's and a target's pass or one of them, and
    forward derivatives; a batch is 32 everywhere.
    """
    steps = registry.pipeline("one-step-leaderboard", {"trainings": 1}).steps
    shape, x, t = Network(), torch.randn(1, 1, 32, 32), torch.tensor([5])
    unet = unet2d.build(shape, (1, 32, 32), 0)
    forward = counted(lambda: unet(x, t))[1]
    whole = counted(lambda: unet(x, t).sample.sum().backward())[1]
    flow = unet2d.build(shape, (1, 32, 32), 0, second_time=True)
    forward_differentiable(flow)
    four, later = x.repeat(4, 1, 1, 1), torch.tensor([0.7, 0.6, 0.8, 0.5])
    r = torch.tensor([0.2, 0.6, 0.8, 0.5])  # three of four are instants, which want no derivative
    flowing = counted(lambda: weighted(errors(velocity(flow, 1000.0), four, four, r, later), 1.0).backward())[1] / 4

    def taken(name: str, an_image: float) -> float:
        return float(steps[name].params["steps"] * an_image)

    base = taken("base_0", whole)
    totals = [base + taken("consistency_0", whole + 2 * forward), taken("untaught_0", whole + forward), taken("mean-flow_0", flowing)]
    assert max(totals) < 1.05 * min(totals) and base == pytest.approx(totals[0] / 2, rel=0.1)


def test_no_other_method_joins_yet_and_a_wrong_parameter_is_named(registry: Registry) -> None:
    assert others(registry) == []
    with pytest.raises(PipelineError, match=r"params\.seeds: is not known here"):
        registry.pipeline("one-step-leaderboard", {"seeds": 3})


def test_the_table_end_to_end(registry: Registry, store: LocalStore) -> None:
    done = fabloom.run("one-step-leaderboard", params=TINY, store=store, device="cpu", registry=registry, engine="inline")
    assert done.exit_code == 0
    report = done["table"]
    table = report.tables["samplers"]
    rows = {row[0]: dict(zip(table.columns, row, strict=True)) for row in table.rows}
    one, four = (float(rows[f"ddim, {n}"]["10^9 multiply-adds an image"]) for n in ("1 step", "4 steps"))
    assert four == pytest.approx(4 * one, rel=0.01)
    base, taught = (float(rows[name]["10^12 of training"]) for name in ("ddim, 1 step", "consistency, taught, 1 step"))
    assert 0 < base < taught, "the teacher's arithmetic counts"
    assert len(report.tables["students of a recurrence"].rows) == 3
    assert report.described["ddim, 1 step"]["distance"].role == "headline"
