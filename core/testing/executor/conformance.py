"""`ExecutorConformance`: everything that `fabloom.running.executors.Executor` promises, as tests for the author of an executor.

    from fabloom.testing import ExecutorConformance

    class TestCluster(ExecutorConformance):
        def make(self, registry, store):
            return ClusterExecutor(workers=2)

The steps are those of `line-pair.simulate` and `images.load`, which every side has installed; a few dozen small images.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fabloom.kinds.store import Store
from fabloom.method import Options, PlannedStep, StepRequest, StepResult
from fabloom.pipeline import Pipeline
from fabloom.planning.plan import Plan, make_plan
from fabloom.progress import Event
from fabloom.registry import Registry
from fabloom.running.execute import run_step
from fabloom.running.executors.protocol import Executor
from fabloom.running.requests import request_of
from fabloom.storage.backends.local import LocalStore

CPU = Options(device="cpu", checkpoint_seconds=0.05)
SECONDS = 240.0
"""How long the kit waits for a step before it says that the executor lost it; a busy machine may be slow."""


class ExecutorConformance:
    """Subclass it and give `make`."""

    def make(self, registry: Registry, store: Store) -> Executor:
        """A new executor for steps of `registry` on `store`, a folder."""
        raise NotImplementedError

    @pytest.fixture(scope="class")
    def fabloom_registry(self) -> Registry:
        """Everything that is installed."""
        return Registry.load()

    @pytest.fixture
    def fabloom_store(self, tmp_path: Path) -> Store:
        """An empty store."""
        return LocalStore(tmp_path / "store")

    @pytest.fixture
    def executor(self, fabloom_registry: Registry, fabloom_store: Store) -> Iterator[Executor]:
        """The executor under test; closed afterwards."""
        made = self.make(fabloom_registry, fabloom_store)
        yield made
        made.close()

    def test_a_step_runs_to_its_commit_and_equals_one_in_this_process(
        self, executor: Executor, fabloom_registry: Registry, fabloom_store: Store, tmp_path: Path
    ) -> None:
        step = simulate(fabloom_registry, fabloom_store, count=6).steps[0]
        events: list[Event] = []
        result = wait(executor.submit(request_of(step, fabloom_store, CPU), events.append))
        assert (result.status, result.name, result.task, result.kind, result.key) == ("ran", "images", step.task, "ImageSet", step.key)
        assert result.exit_code == 0 and result.error == "" and fabloom_store.manifest(step.key)["digest"] == result.digest
        kinds = [event["event"] for event in events]
        assert kinds[:1] == ["started"] and "progress" in kinds, "events come before the future is done"
        assert json.loads(json.dumps(events)) == events
        other = LocalStore(tmp_path / "other")
        assert run_step(simulate(fabloom_registry, other, count=6).steps[0], other, CPU).digest == result.digest

    def test_what_is_committed_is_reused_and_redone_when_asked(
        self, executor: Executor, fabloom_registry: Registry, fabloom_store: Store
    ) -> None:
        step = simulate(fabloom_registry, fabloom_store, count=4).steps[0]
        first, second, third = (
            wait(executor.submit(request_of(step, fabloom_store, options), ignore))
            for options in (CPU, CPU, replace(CPU, redo=(step.name,)))
        )
        assert [r.status for r in (first, second, third)] == ["ran", "reused", "ran"] and first.digest == second.digest == third.digest

    def test_inputs_are_keys_and_the_way_is_json(self, executor: Executor, fabloom_registry: Registry, fabloom_store: Store) -> None:
        plan = simulate(fabloom_registry, fabloom_store, count=6, labels=True)
        for step in plan.steps:
            request = request_of(step, fabloom_store, CPU)
            again = StepRequest.from_dict(json.loads(json.dumps(request.as_dict())))
            assert again == request
            assert wait(executor.submit(again, ignore)).status == "ran"
        assert set(fabloom_store.lineage(plan.steps[-1].key)) == {step.key for step in plan.steps}

    def test_a_step_that_fails_gives_a_result_that_says_why(
        self, executor: Executor, fabloom_registry: Registry, fabloom_store: Store, tmp_path: Path
    ) -> None:
        (tmp_path / "pngs").mkdir()
        (tmp_path / "pngs" / "a.png").write_bytes(b"no picture")
        step = load(fabloom_registry, fabloom_store, tmp_path / "pngs")
        failed = wait(executor.submit(request_of(step, fabloom_store, CPU), ignore))
        assert failed.status == "failed" and failed.exit_code == 2 and "a.png" in failed.error and not fabloom_store.has(step.key)
        good = simulate(fabloom_registry, fabloom_store, count=4).steps[0]
        assert wait(executor.submit(request_of(good, fabloom_store, CPU), ignore)).status == "ran", "it goes on after a failure"

    def test_files_that_changed_since_the_plan_are_refused_before_the_work(
        self, executor: Executor, fabloom_registry: Registry, fabloom_store: Store, tmp_path: Path
    ) -> None:
        (tmp_path / "pngs").mkdir()
        (tmp_path / "pngs" / "a.png").write_bytes(b"one")
        step = load(fabloom_registry, fabloom_store, tmp_path / "pngs")
        (tmp_path / "pngs" / "a.png").write_bytes(b"another")
        refused = wait(executor.submit(request_of(step, fabloom_store, CPU), ignore))
        assert refused.status == "failed" and refused.exit_code == 2 and "changed since it was planned" in refused.error

    @pytest.mark.parametrize("change", ["source", "version", "key"])
    def test_other_code_than_planned_is_refused(
        self, executor: Executor, fabloom_registry: Registry, fabloom_store: Store, change: str
    ) -> None:
        step = simulate(fabloom_registry, fabloom_store, count=4).steps[0]
        request = request_of(step, fabloom_store, CPU)
        changes: Mapping[str, Mapping[str, Any]] = {
            "source": {"source": "0" * 40},
            "version": {"plugin": {**request.plugin, "version": "0.0.0"}},
            "key": {"key": "0" * 40},
        }
        refused = wait(executor.submit(replace(request, **changes[change]), ignore))
        assert refused.status == "failed" and refused.exit_code != 0 and list(fabloom_store.keys()) == []
        assert change == "key" or "changed since it was planned" in refused.error

    def test_equal_requests_at_once_make_it_once(self, executor: Executor, fabloom_registry: Registry, fabloom_store: Store) -> None:
        step = simulate(fabloom_registry, fabloom_store, count=24).steps[0]
        futures: list[Future[StepResult]] = []

        def submit() -> None:
            futures.append(executor.submit(request_of(step, fabloom_store, CPU), ignore))

        callers = [threading.Thread(target=submit) for _ in range(2)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join()
        assert sorted(wait(future).status for future in futures) == ["ran", "reused"]

    def test_a_stop_ends_the_running_step_and_starts_no_other(self, fabloom_registry: Registry, fabloom_store: Store) -> None:
        executor = self.make(fabloom_registry, fabloom_store)
        plan = simulate(fabloom_registry, fabloom_store, count=100_000)

        def stop_once_it_runs(event: Event) -> None:
            if event["event"] == "progress" and event["done"] > 0:
                executor.stop()

        stopped = wait(executor.submit(request_of(plan.steps[0], fabloom_store, CPU), stop_once_it_runs))
        executor.stop()
        later = wait(executor.submit(request_of(plan.steps[0], fabloom_store, CPU), ignore))
        executor.close()
        assert [(r.status, r.exit_code) for r in (stopped, later)] == [("failed", 130)] * 2 and not fabloom_store.has(plan.steps[0].key)

    def test_closing_twice_and_unused_is_harmless(self, fabloom_registry: Registry, fabloom_store: Store) -> None:
        executor = self.make(fabloom_registry, fabloom_store)
        executor.close()
        executor.close()


def ignore(event: Event) -> None:
    """Nobody watches."""


def wait(future: Future[StepResult]) -> StepResult:
    """The result. An executor that loses a step is told from a slow one by `SECONDS`."""
    return future.result(timeout=SECONDS)


def simulate(registry: Registry, store: Store, *, count: int, labels: bool = False) -> Plan:
    """A pipeline of one step `images`, or with labels of three."""
    steps: dict[str, Any] = {"images": {"task": "line-pair.simulate", "params": {"count": count, "size": 32}}}
    if labels:
        steps["clean"] = {"task": "line-pair.simulate", "params": {"count": 4, "size": 32, "defect_share": 0.0}, "seed": 1}
        steps["labels"] = {"task": "reference-difference.label", "inputs": {"images": "images", "reference": "clean"}}
    return make_plan(Pipeline.parse({"name": "kit", "steps": steps}), registry, store)


def load(registry: Registry, store: Store, folder: Path) -> PlannedStep:
    """A step that reads files."""
    steps = {"files": {"task": "images.load", "params": {"path": str(folder)}}}
    return make_plan(Pipeline.parse({"name": "kit", "steps": steps}), registry, store).steps[0]
