"""An artifact by the step that made it, and what a store says of a model."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from fabloom.errors import UserError
from fabloom.flows.run import api
from fabloom.flows.run.judged import evaluations
from fabloom.flows.run.naming import resolved
from fabloom.kinds import Metric, Model, Report
from fabloom.method import Context, Method, task
from fabloom.params import Params
from fabloom.registry import Origin, Registry
from fabloom.storage.backends.local import LocalStore


class Weight(Params):
    value: float = 0.0


class Scale(Method):
    """A model of one weight, and reports of it with and without names for the results."""

    name = "scale"

    @task(version=1)
    def fit(self, ctx: Context, params: Weight) -> Model:
        return Model.write(ctx, {"w": torch.tensor([params.value])}, {"threshold": 0.25})

    @task(version=1)
    def judge(self, ctx: Context, params: Weight, *, model: Model, rival: Model) -> Report:
        ours, theirs = (Metric(value, (value - 0.1, value + 0.1), role=role) for value, role in ((0.8, "headline"), (0.5, "control")))
        return Report.write(ctx, {"model": {"iou": ours}, "rival": {"iou": theirs}})


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[LocalStore, dict[str, Any]]:
    """Two pipelines; in 'first' the step 'net' ran twice with different parameters, 'other' has a 'net' of its own, and 'lone' alone."""
    registry = Registry()
    registry._add_method(Scale, Origin("scale", "scale", "1"))
    store, made = LocalStore(tmp_path_factory.mktemp("naming") / "store"), {}
    for name, value in (("first", 1.0), ("first", 2.0), ("other", 3.0)):
        steps: dict[str, Any] = {"net": {"task": "scale.fit", "params": {"value": value}}}
        if name == "first":
            steps["lone"] = {"task": "scale.fit", "params": {"value": value + 10}}
            steps["report"] = {"task": "scale.judge", "inputs": {"model": "net", "rival": "lone"}}
        made[f"{name}{value:g}"] = api.run({"name": name, "steps": steps}, store=store, registry=registry)
    return store, made


def test_a_step_names_the_artifact_of_the_newest_run(ran: tuple[LocalStore, dict[str, Any]]) -> None:
    store, made = ran
    newest, older = made["first2"], made["first1"]
    assert resolved(store, "lone") == newest["lone"].key != older["lone"].key
    assert resolved(store, f"{older.run}:lone") == older["lone"].key
    assert resolved(store, "first:net") == newest["net"].key and resolved(store, "1:net") == made["other3"]["net"].key
    assert resolved(store, newest["net"].key[:8]) == newest["net"].key
    store.refs.set("lone", older["net"].key)  # a ref keeps its meaning whatever runs
    try:
        assert resolved(store, "lone") == older["net"].key
    finally:
        store.refs.delete("lone")


@pytest.mark.parametrize(("text", "told"), [
    ("net", r"several pipelines.*other-\w+:net.*first-\w+:net"), ("first", "is a run, not an artifact.*first:lone"),
    ("lon", "Did you mean 'lone'"), ("first:lon", "run 'first' made no artifact in a step 'lon'. Did you mean 'lone'"),
    ("second:net", "there is no run 'second'"), ("ref:lone", "no ref 'lone'|was deleted"), ("quite-else", "no artifact or ref"),
])  # fmt: skip
def test_what_is_ambiguous_or_nothing_is_refused(ran: tuple[LocalStore, dict[str, Any]], text: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        resolved(ran[0], text)


def test_a_models_scores_are_those_of_its_own_port(ran: tuple[LocalStore, dict[str, Any]]) -> None:
    store, made = ran
    for step, value in (("net", 0.8), ("lone", 0.5)):
        (found,) = evaluations(store, made["first2"][step].key)
        assert found.score is not None and found.score.value == value and found.step == "report" and found.pipeline == "first"
        assert str(found) == f"IoU {value:.2f} [{value - 0.1:.2f}, {value + 0.1:.2f}]"
    assert evaluations(store, made["other3"]["net"].key) == []


def test_an_artifact_that_is_gone_is_told(ran: tuple[LocalStore, dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LocalStore, "has", lambda self, key: False)
    with pytest.raises(UserError, match="was removed since; run the pipeline again"):
        resolved(ran[0], "lone")
