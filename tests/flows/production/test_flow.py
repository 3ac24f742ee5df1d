"""What Prefect gets of a night, without a server: the form, named states, markdown, a small pickle. benchmarks/nights.py has a real one."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from fabloom.flows.production.decision import BAD, OUTCOMES, Record
from fabloom.flows.production.flow import retrain
from fabloom.flows.production.night import Night
from fabloom.flows.production.shown import Parameters, carry_out, markdown, state_of

GATE = [{"metric": "iou", "value": 0.1, "interval": [0.05, 0.15], "wanted": "above 0.01", "passed": True, "why": "it does"}]


def test_the_form_is_flat_and_says_what_everything_is() -> None:
    fields = retrain.parameters.properties
    assert {*fields} == {field.name for field in dataclasses.fields(Parameters)} and retrain.parameters.required == ["spec"]
    for name, field in fields.items():
        assert field.get("type") in ("string", "integer", "boolean", "array") and field.get("description"), name
        assert not {"anyOf", "oneOf", "allOf"} & {*field}, name


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_each_outcome_is_a_state_of_its_name(outcome: Any) -> None:
    state = state_of(Night(Record("line", outcome, "because")))
    kinds = {"Failed": "FAILED", "Stopped": "CANCELLED"}
    assert (state.name, state.type.value, state.message) == (outcome, kinds.get(outcome, "COMPLETED"), "because")
    assert (outcome in BAD) == (outcome in kinds)


def test_what_cannot_begin_fails_in_one_line(tmp_path: Any) -> None:
    state = carry_out(Parameters(str(tmp_path / "none.yaml")))
    assert state.is_failed() and "cannot read the specification" in str(state.message)


def test_a_decision_is_markdown() -> None:
    scores = {who: {"value": 0.6, "interval": [0.5, 0.7]} for who in ("challenger", "champion")}
    headline = {"metric": "iou", "unit": "", "better": "up", **scores}
    text = markdown(Record("line", "Rejected", "iou | lies *low*", champion="c" * 40, gate=GATE, headline=headline, frozen={"ref:a": "k"}))
    for told in ("Rejected: the champion stays", "iou \\| lies \\*low\\*", "challenger minus champion", "above 0.01", "0.60", "ref:a"):
        assert told in text


def test_the_flow_is_small_when_it_goes_to_workers() -> None:
    cloudpickle = pytest.importorskip("cloudpickle")
    assert len(cloudpickle.dumps(retrain.fn)) < 10_000
