"""What MLflow holds after runs of a small pipeline: read back with MLflow's own client from a folder of its own."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import fabloom_mlflow
import pytest
from fabloom_mlflow.flat import leaves, numbers, texts
from fabloom_mlflow.tracking import SETTINGS, portions

import fabloom
from fabloom import StepResult
from fabloom.planning.plan import make_plan
from fabloom.registry import Registry

PIPELINE: dict[str, Any] = {
    "name": "tiny",
    "steps": {
        "images": {"task": "line-pair.simulate", "params": {"count": 6}},
        "clean": {"task": "line-pair.simulate", "params": {"count": 4, "defect_share": 0.0}, "seed": 1},
        "labels": {"task": "reference-difference.label", "inputs": {"images": "images", "reference": "clean"}},
        "held": {"task": "line-pair.simulate", "params": {"count": 6}, "seed": 2},
        "model": {"task": "unet.train", "inputs": {"images": "images"}, "params": {"steps": 12, "batch": 2}},
        "scores": {"task": "unet.evaluate", "inputs": {"images": "held", "model": "model"}, "params": {"resamples": 100, "shifts": []}},
    },
}


@pytest.fixture
def tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that MLflow writes to in this test."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/mlruns")
    monkeypatch.delenv("FABLOOM_MLFLOW_EXPERIMENT", raising=False)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    return tmp_path / "mlruns"


def run(store: Path, *settings: str, **more: Any) -> dict[str, Any]:
    return {s.name: s for s in fabloom.run(PIPELINE, store=store, device="cpu", set=settings, check=False, **more).steps}


def logged(folder: Path, experiment: str = "tiny") -> list[Any]:
    """MLflow's runs of an experiment, oldest first."""
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"file:{folder}")
    found = client.get_experiment_by_name(experiment)
    assert found is not None
    return sorted(client.search_runs([found.experiment_id]), key=lambda r: (r.info.start_time, r.info.end_time))


def curve(folder: Path, run: Any, name: str) -> list[tuple[int, float]]:
    """(step, value) of a metric, in order."""
    from mlflow.tracking import MlflowClient

    return sorted((point.step, point.value) for point in MlflowClient(f"file:{folder}").get_metric_history(run.info.run_id, name))


def test_each_step_that_ran_is_logged_once(tracked: Path, tmp_path: Path) -> None:
    steps = run(tmp_path / "store")
    runs = {r.info.run_name: r for r in logged(tracked)}
    assert sorted(runs) == sorted(steps) and {r.info.status for r in runs.values()} == {"FINISHED"}
    for name, step in steps.items():
        tags = runs[name].data.tags
        assert (tags["fabloom.key"], tags["fabloom.digest"]) == (step.key, step.digest)
        assert (tags["fabloom.task"], tags["fabloom.kind"], tags["fabloom.status"]) == (step.task, step.kind, "ran")
        assert float(tags["fabloom.seconds"]) > 0 and runs[name].info.end_time >= runs[name].info.start_time
    assert runs["labels"].data.tags["fabloom.inputs"] == f"{steps['images'].key} {steps['clean'].key}"
    params = runs["images"].data.params
    assert params["count"] == "6" and params["defects.0"] == "bridge" and params["random_phase"] == "false" and int(params["seed"]) > 0
    curves = fabloom.open_store(tmp_path / "store").manifest(steps["model"].key)["curves"]
    assert list(curves) == ["net_0.loss"] and len(curves["net_0.loss"]) == 2
    assert [list(point) for point in curve(tracked, runs["model"], "net_0.loss")] == curves["net_0.loss"]
    assert runs["scores"].data.metrics == numbers(steps["scores"].metrics) and len(runs["scores"].data.metrics) > 3
    assert {s.status for s in run(tmp_path / "store").values()} == {"reused"}
    assert len(logged(tracked)) == len(steps), "a reused step is not logged again"


def test_a_step_that_fails_is_told_as_failed(tracked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FABLOOM_MLFLOW_EXPERIMENT", "night shift")
    steps = run(tmp_path / "store", "steps.clean.params.size=48")
    assert [steps[name].status for name in ("labels", "model")] == ["failed", "skipped"]
    runs = {r.info.run_name: r for r in logged(tracked, "night shift")}
    assert {name: r.info.status for name, r in runs.items()} == {"images": "FINISHED", "clean": "FINISHED", "labels": "FAILED"}
    tags = runs["labels"].data.tags
    assert "one size" in tags["fabloom.error"] and tags["fabloom.status"] == "failed" and "fabloom.digest" not in tags


@pytest.mark.parametrize("place", ["file:/proc/no-such-place", "nonsense://x"])
def test_where_nothing_can_be_logged_the_run_is_the_same(
    place: str, tracked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", place)
    with caplog.at_level(logging.ERROR, "fabloom"):
        steps = run(tmp_path / "store", "steps.images.params.count=5")
    assert {s.status for s in steps.values()} == {"ran"} and "fabloom_step_finished" in caplog.text
    assert not tracked.exists()


def test_flat_names_and_finite_numbers() -> None:
    nested = {"a": {"b": [1, 2.5], "c": None, "d": True, "e": "x", "f": math.nan}, "g %": -1}
    assert dict(leaves(nested))["g _"] == -1
    assert numbers(nested) == {"a.b.0": 1.0, "a.b.1": 2.5, "g _": -1.0}
    assert texts({"a": {"b": None}, "c": "x", "d": False}) == {"a.b": "null", "c": "x", "d": "false"}
    assert [len(p) for p in portions(range(250), 100)] == [100, 100, 50] and not list(portions([], 3))


def test_curves_come_while_a_step_runs(tracked: Path, tmp_path: Path) -> None:
    store = fabloom.open_store(tmp_path / "store")
    pipeline = fabloom.Pipeline.parse({"name": "tiny", "steps": {"images": PIPELINE["steps"]["images"]}})
    (step,) = make_plan(pipeline, Registry.load(), store).steps
    done = StepResult.of(step, "ran", digest="0" * 40, seconds=1.0)
    curves = {"curves": {"main.loss": [[0, 4.0], [1, 3.0], [2, 2.0]]}}
    fabloom_mlflow.fabloom_step_started(step)
    fabloom_mlflow.fabloom_step_logged(step, "main", 0, {"loss": 4.0, "bad": math.nan})
    fabloom_mlflow.fabloom_step_logged(step, "main", 1, {"loss": 3.0})
    (run_,) = logged(tracked)
    assert run_.info.status == "RUNNING" and curve(tracked, run_, "main.loss") == [(0, 4.0), (1, 3.0)]
    fabloom_mlflow.fabloom_step_finished(step, done, curves)
    (run_,) = logged(tracked)
    assert run_.info.status == "FINISHED" and curve(tracked, run_, "main.loss") == [(0, 4.0), (1, 3.0), (2, 2.0)], "the last one too, once"
    assert run_.data.tags["fabloom.key"] == step.key and run_.data.params["seed"] == str(step.seed)


def test_a_step_that_was_killed_goes_on_in_its_run(tracked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = fabloom.open_store(tmp_path / "store")
    pipeline = fabloom.Pipeline.parse({"name": "tiny", "steps": {"images": PIPELINE["steps"]["images"]}})
    (step,) = make_plan(pipeline, Registry.load(), store).steps
    fabloom_mlflow.fabloom_step_logged(step, "main", 0, {"loss": 4.0})
    monkeypatch.setattr(fabloom_mlflow, "_live", {})  # another process
    fabloom_mlflow.fabloom_step_logged(step, "main", 1, {"loss": 3.0})
    fabloom_mlflow.fabloom_step_finished(step, StepResult.of(step, "ran", digest="0" * 40, seconds=1.0), None)
    (run_,) = logged(tracked)
    assert run_.info.status == "FINISHED" and curve(tracked, run_, "main.loss") == [(0, 4.0), (1, 3.0)]


def test_a_server_that_is_down_is_asked_once_while_a_step_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("fabloom_mlflow.tracking.connect", lambda: asked.append("") or 1 / 0)
    store = fabloom.open_store(tmp_path / "store")
    pipeline = fabloom.Pipeline.parse({"name": "tiny", "steps": {"images": PIPELINE["steps"]["images"]}})
    (step,) = make_plan(pipeline, Registry.load(), store).steps
    with pytest.raises(ZeroDivisionError):
        fabloom_mlflow.fabloom_step_logged(step, "main", 0, {"loss": 4.0})
    fabloom_mlflow.fabloom_step_logged(step, "main", 1, {"loss": 3.0})
    assert len(asked) == 1
    fabloom_mlflow._live.clear()
