"""A line whose champion takes part in making its challenger: each night that is promoted is a round of a closed loop."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml

if TYPE_CHECKING:
    from conftest import Line
else:
    Line = Any

READ = {"task": "rival.read", "params": {"path": "data"}}
FIRST = {"task": "rival.train", "inputs": {"images": "images"}}


@pytest.fixture
def loop(line: Line) -> Line:
    """The line with a pipeline that improves a first model, or the champion once there is one."""
    improve = {"task": "rival.improve", "inputs": {"images": "images", "model": "first"}}
    steps = {"images": READ, "first": FIRST, "model": improve}
    (line.folder / "pipeline.yaml").write_text(yaml.safe_dump({"name": "rounds", "steps": steps}))
    line.write(feedback="first")
    return line


def ran(night: dict[str, Any]) -> dict[str, str]:
    return {name: step["status"] for name, step in night["run"]["steps"].items()}


def test_rounds_go_on_from_the_champion_until_the_gate_says_no(loop: Line) -> None:
    first = loop.night()
    assert first["outcome"] == "Promoted" and ran(first).keys() == {"images", "first", "model", "evaluation"}
    second, third, fourth = loop.night(), loop.night(), loop.night()
    assert [one["outcome"] for one in (second, third, fourth)] == ["Promoted", "Promoted", "Rejected"], "110, 120, 130, and no further"
    assert ran(second).keys() == {"images", "model", "evaluation"}, "the champion stands in for the first model"
    assert (second["champion"], third["champion"]) == (first["challenger"], second["challenger"])
    assert "does not lie above 0.01" in fourth["reason"] and loop.store.refs.get("unit/champion") == third["challenger"]
    again = loop.night()
    assert again["outcome"] == "Rejected" and {*ran(again).values()} == {"reused"}, "nothing is made twice"
    assert loop.command("ref", "rollback", "unit/champion", "--why", "false alarms")[0] == 0
    assert loop.night()["outcome"] == "Held", "the round that was taken back is not gone through again"


def test_without_feedback_the_challenger_knows_no_champion(loop: Line) -> None:
    """The control."""
    loop.write(feedback=None)
    assert [loop.night()["outcome"] for _ in range(2)] == ["Promoted", "NoChange"]


def test_a_round_makes_the_next_one_due(loop: Line) -> None:
    loop.write(settle=0)
    outcomes = [loop.night("--if-new")["outcome"] for _ in range(5)]
    assert outcomes == ["Promoted", "Promoted", "Promoted", "Rejected", "NoChange"]


def test_what_only_the_first_model_needed_is_left_out(loop: Line) -> None:
    content = yaml.safe_load((loop.folder / "pipeline.yaml").read_text())
    content["steps"] |= {"others": {**READ, "seed": 3}, "first": {**FIRST, "inputs": {"images": "others"}}}
    (loop.folder / "pipeline.yaml").write_text(yaml.safe_dump(content))
    assert "others" in ran(loop.night()) and ran(loop.night()).keys() == {"images", "model", "evaluation"}
    loop.write(check={"step": "others"})
    code, _, err = loop.command("retrain", "retrain.yaml", "--engine", "inline")
    assert code == 2 and "check.step: pipeline 'rounds' has no step 'others'" in err


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("frist", "feedback: pipeline 'rounds' has no step 'frist'. Did you mean 'first'?"),
        ("model", "feedback: the champion cannot stand in for 'model', which is the challenger"),
    ],
)
def test_a_step_that_cannot_be_is_told_before_anything_runs(loop: Line, step: str, told: str) -> None:
    loop.write(feedback=step)
    code, _, err = loop.command("retrain", "retrain.yaml", "--engine", "inline")
    assert code == 2 and told in err
    assert loop.store.refs.names() == ["unit/heldout"]
