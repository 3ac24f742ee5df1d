"""The picture of a run that is too large to be drawn whole. Costs are ratios of CPU time, never seconds."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest

from fabloom.flows.report.draw.graph import draw
from fabloom.flows.report.draw.reduction import BANDS, MOST_BOXES, MOST_PIECES, reduced
from fabloom.flows.report.page import Page
from fabloom.method import StepResult
from fabloom.pipeline import Pipeline
from fabloom.planning.plan import make_plan
from fabloom.registry import Registry
from fabloom.storage.backends.local import LocalStore


def shared(count: int) -> tuple[dict[str, Any], list[Any]]:
    """Trainings that all start from one set, each also from the one before, and a report of all."""
    names = [f"train_{i}" for i in range(count - 2)]
    boxes: dict[str, Any] = {"data": (("data", "line-pair.simulate", "reused"), "reused")}
    boxes |= {name: ((name, "unet.train", "ran in 3 s"), "failed" if name == "train_7" else "ran") for name in names}
    boxes["report"] = (("report", "unet.evaluate", "skipped"), "skipped")
    edges = [("data", name, "images") for name in names] + [(name, "report", "models") for name in names]
    return boxes, edges + list(zip(names, names[1:], ["base"] * len(names), strict=False))


def zigzag(count: int) -> tuple[dict[str, Any], list[Any]]:
    """A chain in which the task changes at each step, and every step also uses the first."""
    boxes = {f"s{i}": ((f"s{i}", f"method.{'ab'[i % 2]}", "ran"), "ran") for i in range(count)}
    return boxes, [(f"s{i - 1}", f"s{i}", "x") for i in range(1, count)] + [("s0", f"s{i}", "y") for i in range(2, count)]


def spent(boxes: Any, edges: Any) -> float:
    began = time.process_time()
    *drawn, _ = reduced(boxes, edges)
    draw(*drawn)
    return time.process_time() - began


def test_a_graph_that_fits_is_drawn_whole() -> None:
    boxes, edges = shared(20)
    assert reduced(boxes, edges) == (boxes, edges, "")


def test_many_steps_are_drawn_by_task_and_the_worst_state_shows() -> None:
    boxes, edges, told = reduced(*shared(1000))
    assert [(lines[0], lines[1], style) for lines, style in boxes.values()] == [
        ("data", "line-pair.simulate", "reused"),
        ("998 steps", "unet.train", "failed"),
        ("report", "unet.evaluate", "skipped"),
    ]
    assert list(boxes.values())[1][0][2] == "1 failed, 997 ran"
    assert sorted(what for _, _, what in edges) == ["images", "models"]
    assert "1,000 boxes" in told and "3 boxes" in told and "table" in told


@pytest.mark.parametrize("make", [shared, zigzag])
@pytest.mark.parametrize("count", [2 * MOST_BOXES, 1000])
def test_what_is_drawn_has_a_ceiling_and_no_circle(make: Any, count: int) -> None:
    boxes, edges, told = reduced(*make(count))
    place = {name: index for index, name in enumerate(boxes)}
    assert told and len(boxes) <= MOST_BOXES
    assert all(place[start] < place[end] for start, end, _ in edges)
    members = [int(found[1].replace(",", "")) if (found := re.match(r"([\d,]+) steps", lines[0])) else 1 for lines, _ in boxes.values()]
    assert sum(members) == count


def test_few_steps_with_too_many_arrows_are_drawn_in_bands() -> None:
    names = [f"s{i}" for i in range(40)]
    edges = [(a, b, "x") for i, a in enumerate(names) for b in names[i + 1 :]]
    boxes, arrows, told = reduced({n: ((n, f"method.t{i}", "ran"), "ran") for i, n in enumerate(names)}, edges)
    assert told and len(boxes) <= BANDS and len(arrows) < MOST_PIECES
    assert boxes["group 0"][0][1].endswith("other tasks")


@pytest.mark.parametrize("make", [shared, zigzag])
def test_drawing_a_thousand_steps_costs_no_more_than_drawing_sixty(make: Any) -> None:
    few = [f"s{i}" for i in range(60)]  # drawn whole, near the ceiling
    whole = {n: ((n, "unet.train", "ran"), "ran") for n in few}, [(a, b, "x") for i, b in enumerate(few) for a in few[max(0, i - 4) : i]]
    assert reduced(*whole)[2] == ""
    assert min(spent(*make(1000)) for _ in range(3)) < 3 * min(spent(*whole) for _ in range(3))


def test_the_page_says_what_its_picture_leaves_out(store: LocalStore) -> None:
    registry = Registry.load()
    steps = {f"s{i}": {"task": "line-pair.simulate", "seed": i} for i in range(100)}
    plan = make_plan(Pipeline.parse({"name": "many", "steps": steps}), registry, store)
    body = Page(plan, [StepResult.of(step, "skipped") for step in plan.steps], store).what_ran()
    assert "too many for one picture" in body and body.count('class="node') == 1 and "s99" in body
