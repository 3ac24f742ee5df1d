"""Which workers a run gets: what is asked for against what there is. Real workers of dask are in tests/core/running/executors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fabloom
from fabloom.errors import EnvironmentProblem, UserError
from fabloom.planning.plan import Plan, make_plan
from fabloom.registry import Registry
from fabloom.running.executors import ProcessExecutor
from fabloom.running.executors.dask import DaskExecutor
from fabloom.running.executors.ray import RayExecutor
from fabloom.storage.backends.local import LocalStore


@pytest.mark.parametrize(
    ("asked", "why"),
    [
        ({"workers": 2}, "one step at a time"),
        ({"cluster": "tcp://127.0.0.1:9"}, "engine 'prefect'"),
        ({"engine": "prefect", "cluster": "tcp://127.0.0.1:9"}, "dask or ray"),
        ({"engine": "prefect", "runner": "ray", "cluster": "ray://me:hunter2@host:10001"}, "the cluster .* holds a password"),
        ({"engine": "prefect", "workers": 0}, "from 1 to 64"),
        ({"engine": "prefect", "workers": 100}, "from 1 to 64"),
    ],
)
def test_workers_that_the_engine_has_not_are_refused_before_anything_runs(asked: dict[str, Any], why: str, tmp_path: Path) -> None:
    pipeline = {"name": "one", "steps": {"images": {"task": "line-pair.simulate", "params": {"count": 2, "size": 32}}}}
    with pytest.raises(UserError, match=why) as caught:
        fabloom.run(pipeline, store=tmp_path / "store", **asked)
    assert "hunter2" not in str(caught.value), "Prefect keeps it, and a terminal shows it"
    assert list(LocalStore(tmp_path / "store").keys()) == []


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    registry = Registry.load()
    return make_plan(registry.pipeline("one-step"), registry, LocalStore(tmp_path / "store"))


def test_a_flow_run_gets_the_executor_of_its_runner(plan: Plan) -> None:
    from fabloom.flows.run.prefect.order import Order, executor_for
    from fabloom.flows.run.prefect.runners import make_runner

    there = executor_for(plan, Order("one-step", runner="dask", workers=3, cluster="tcp://127.0.0.1:9"))
    assert isinstance(there, DaskExecutor) and (there._workers, there._address) == (3, "tcp://127.0.0.1:9")
    assert "torch" in there._preload, "the worker's step server imports what the steps need, once"
    ray = executor_for(plan, Order("one-step", runner="ray", workers=3, cluster="127.0.0.1:9"))
    assert isinstance(ray, RayExecutor) and (ray._workers, ray._address, ray._preload) == (3, "127.0.0.1:9", there._preload)
    assert isinstance(executor_for(plan, Order("one-step", workers=3)), ProcessExecutor)
    assert type(make_runner("dask", 3)) is type(make_runner("threads", 3)), "its tasks wait here"


@pytest.mark.parametrize("runner", ["dask", "ray"])
def test_without_the_extra_a_runner_is_refused_with_how_to_get_it(monkeypatch: pytest.MonkeyPatch, runner: str) -> None:
    from fabloom.flows.run.prefect import runners

    monkeypatch.setattr(runners, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match=rf"pip install 'fabloom\[{runner}\]'"):
        runners.make_runner(runner, 2)


def test_the_task_is_small_and_loads_in_a_fresh_process(tmp_path: Path) -> None:
    import cloudpickle

    from fabloom.flows.run.prefect.flow import perform

    (tmp_path / "task").write_bytes(cloudpickle.dumps(perform))
    assert (tmp_path / "task").stat().st_size < 10_000, "no session, no engine went along"
    load = "import cloudpickle, pathlib, sys; print(cloudpickle.loads(pathlib.Path(sys.argv[1]).read_bytes()).name)"
    told = subprocess.run([sys.executable, "-c", load, str(tmp_path / "task")], capture_output=True, text=True, check=False)
    assert told.stdout.strip() == "perform", told.stderr
