"""The engine end to end on a tiny method: reuse, failure, interruption and resume, isolation."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import fabloom
from fabloom.errors import DataError, EnvironmentProblem, PipelineError, PluginError
from fabloom.kinds import ImageSet, Model, Report
from fabloom.method import Context, Method, Options, PlannedStep, StepRequest, StepResult, task
from fabloom.params import Params
from fabloom.pipeline import Pipeline
from fabloom.planning.plan import make_plan
from fabloom.progress import Messenger
from fabloom.registry import Origin, Registry
from fabloom.running.engine import Engine, exit_code, run_inline
from fabloom.running.executors import InlineExecutor
from fabloom.running.retry import kept
from fabloom.storage.backends.local import LocalStore
from fabloom.storage.verify import verify


class Count(Params):
    count: int = 8


class Train(Params):
    steps: int = 12
    fail_at: int = -1


class Toy(Method):
    """A mean image and a linear layer."""

    name = "toy"
    calls: list[str] = []
    scale = 1.0

    @task(version=1)
    def make(self, ctx: Context, params: Count) -> ImageSet:
        Toy.calls.append("make")
        pixels = torch.randint(0, 255, (params.count, 1, 4, 4), generator=ctx.generator(), dtype=torch.uint8)
        return ImageSet.write(ctx, pixels.numpy())

    @task(version=1)
    def train(self, ctx: Context, params: Train, *, images: ImageSet) -> Model:
        Toy.calls.append("train")
        net = torch.nn.Linear(16, 1)
        optimizer = torch.optim.Adam(net.parameters(), lr=0.05)
        data = torch.from_numpy(images.images[:]).float().flatten(1) / 255
        for step in ctx.loop(params.steps, net=net, optimizer=optimizer):
            if step.index == params.fail_at:
                raise DataError("image 3 is upside down")
            noise = torch.randn(data.shape, generator=ctx.generator("noise")) + torch.randn(()) + np.random.rand()
            loss = Toy.scale * net(data + noise).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step.log(loss=loss.item())
        return Model.write(ctx, net.state_dict(), {"inputs": 16})

    @task(version=1)
    def misread(self, ctx: Context, params: Params) -> Report:
        return Report.write(ctx, json.loads("{bad"))

    @task(version=1)
    def score(self, ctx: Context, params: Params, *, models: list[Model]) -> Report:
        Toy.calls.append("score")
        return Report.write(ctx, {"weight": float(sum(m.state()["weight"].abs().sum() for m in models))})


@pytest.fixture
def registry() -> Registry:
    made = Registry()
    made._add_method(Toy, Origin("toy", "toy", "1"))
    assert not made.problems
    Toy.calls.clear()
    return made


def toy(**train: object) -> Pipeline:
    return Pipeline.parse({
        "name": "toy",
        "steps": {
            "images": {"task": "toy.make"},
            "a": {"task": "toy.train", "inputs": {"images": "images"}, "params": train},
            "b": {"task": "toy.train", "inputs": {"images": "images"}, "seed": 1},
            "report": {"task": "toy.score", "inputs": {"models": ["a", "b"]}},
        },
    })  # fmt: skip


def execute(pipeline: Pipeline, registry: Registry, store: LocalStore, **more: object):
    plan = make_plan(pipeline, registry, store)
    return run_inline(plan, Engine(registry, store, more.pop("options", Options(device="cpu")), **more))


def test_second_run_reuses_everything(registry: Registry, store: LocalStore) -> None:
    first = execute(toy(), registry, store)
    assert [r.status for r in first] == ["ran"] * 4, [r.error for r in first]
    second = execute(toy(), registry, store)
    assert [r.status for r in second] == ["reused"] * 4
    assert [r.digest for r in first] == [r.digest for r in second]
    assert Toy.calls == ["make", "train", "train", "score"]
    assert second[-1].metrics == first[-1].metrics and first[-1].metrics["weight"] > 0
    assert not verify(store).problems and not verify(store).leftovers


def test_methods_prepare_what_will_run_before_anything_runs(registry: Registry, store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def ready(steps: Sequence[PlannedStep], messenger: Messenger) -> None:
        asked.append([step.name for step in steps])
        messenger.log("fetching a licence")
        if any(step.task == "toy.score" for step in steps):
            raise EnvironmentProblem("the licence server is down")

    monkeypatch.setattr(Toy, "prepare", ready)
    events: list[dict[str, Any]] = []
    with pytest.raises(EnvironmentProblem, match="licence server"):
        fabloom.run(toy(), store=store, registry=registry, device="cpu", emit=events.append)
    assert asked == [["images", "a", "b", "report"]] and not Toy.calls
    assert events == [{"step": "images", "event": "log", "message": "fetching a licence"}]
    trained = Pipeline.parse({"name": "toy", "steps": {k: v.model_dump() for k, v in toy().steps.items() if k != "report"}})
    asked.clear()
    for redo in ((), (), ("b",)):
        assert fabloom.run(trained, store=store, registry=registry, device="cpu", redo=redo).exit_code == 0
    assert asked == [["images", "a", "b"], ["b"]], "what is reused needs nothing"
    monkeypatch.setattr(Toy, "prepare", lambda steps, messenger: 1 // 0)
    with pytest.raises(PluginError, match=r"steps.report: .*Toy fails while preparing: ZeroDivisionError"):
        fabloom.run(toy(), store=store, registry=registry, device="cpu")


@pytest.mark.parametrize("changed", [True, False])
def test_only_checkpoints_of_the_same_code_are_gone_on_with(
    registry: Registry, store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changed: bool
) -> None:
    """A mended method must not end what the faulty one began: the key would not tell."""
    pipeline = Pipeline.parse({"name": "toy", "steps": {k: v.model_dump() for k, v in toy().steps.items() if k in ("images", "a")}})
    fresh = execute(pipeline, registry, LocalStore(tmp_path / "fresh"))[-1]
    events: list[dict[str, Any]] = []

    def run(source: str, stop_at: int | None) -> StepResult:
        events.clear()
        monkeypatch.setattr("fabloom.running.execute._fingerprint", lambda module: source)

        def stop() -> bool:
            return stop_at is not None and any(event.get("name") == "main" and event["done"] >= stop_at for event in events)

        monkeypatch.setattr("fabloom.progress.Progress.PERIOD", 0.0)
        return execute(pipeline, registry, store, emit=events.append, stop=stop)[-1]

    Toy.scale = 1000.0 if changed else 1.0
    try:
        stopped = run("before", 5)
    finally:
        Toy.scale = 1.0
    assert stopped.status == "failed" and list(store.work(stopped.key).glob("ckpt-*"))
    done = run("after" if changed else "before", None)
    told = [event["message"] for event in events if event["event"] == "log"]
    assert told == [
        "the code of toy.train changed since this step was stopped: starting over" if changed else "going on from step 5 of 'main'"
    ]
    assert done.digest == fresh.digest and not verify(store).leftovers


def test_a_failure_names_the_methods_own_line_and_keeps_the_traceback(registry: Registry, store: LocalStore) -> None:
    (failure,) = execute(Pipeline.parse({"name": "p", "steps": {"a": {"task": "toy.misread"}}}), registry, store)
    own = next(number for number, line in enumerate(Path(__file__).read_text().splitlines(), 1) if 'json.loads("{bad")' in line)
    assert failure.exit_code == 1 and "JSONDecodeError: Expecting property name" in failure.error
    assert f"(at test_engine.py:{own}, in misread); traceback in " in failure.error
    log = Path(failure.error.partition("traceback in ")[2])
    assert log.is_relative_to(store.root) and log.read_text().startswith("Traceback (most recent call last):")
    assert "decoder.py" in log.read_text() and "JSONDecodeError" in log.read_text().splitlines()[-1]


def test_curves_are_thinned_and_end_at_the_last_point(registry: Registry, store: LocalStore) -> None:
    steps = {"images": {"task": "toy.make"}, "a": {"task": "toy.train", "inputs": {"images": "images"}, "params": {"steps": 1002}}}
    result = execute(Pipeline.parse({"name": "p", "steps": steps}), registry, store)[-1]
    (points,) = store.manifest(result.key)["curves"].values()
    at = [step for step, _ in points]
    assert len(at) <= 401 and at[-1] == 1001 and at[:3] == [0, 4, 8] and all(b - a == 4 for a, b in pairwise(at[:-1]))


def test_keys_follow_from_what_was_asked(registry: Registry, store: LocalStore) -> None:
    plain, longer = make_plan(toy(), registry, store), make_plan(toy(steps=13), registry, store)
    assert plain.step("images").key == longer.step("images").key
    assert plain.step("a").key != longer.step("a").key
    assert plain.step("b").key == longer.step("b").key != plain.step("a").key
    assert plain.step("report").key != longer.step("report").key
    assert make_plan(toy().override(seed=1), registry, store).step("images").key != plain.step("images").key


def test_a_pattern_sets_every_step_of_such_a_name() -> None:
    plain = toy().override(["steps.[ab].params.steps=3", "steps.*.seed=2"])
    assert [plain.steps[name].params.get("steps") for name in ("a", "b")] == [3, 3]
    assert {step.seed for step in plain.steps.values()} == {2} and "steps" not in plain.steps["images"].params
    nested = toy().override(["steps.[ab].params.more={x: 1}", "steps.a.params.more.x=2"])
    assert nested.steps["b"].params["more"] == {"x": 1}, "one value is not shared by the steps"
    with pytest.raises(PipelineError, match=r"steps\.\*_model: no step has such a name; the steps are images, a, b, report"):
        toy().override(["steps.*_model.params.steps=3"])


def test_a_pattern_passes_over_steps_without_the_parameter(registry: Registry) -> None:
    plain = toy()
    having = {name for name, step in plain.steps.items() if "steps" in registry.fields(step.task)}
    assert having and having < plain.steps.keys(), "the control: some have it and some have not"
    found = plain.override(["steps.*.params.steps=3"], None, registry.fields)
    assert {name for name, step in found.steps.items() if step.params.get("steps") == 3} == having
    misspelt = plain.override(["steps.*.params.stesp=3"], None, registry.fields)
    assert all(step.params["stesp"] == 3 for step in misspelt.steps.values()), "planning refuses it and says what is near"
    exact = plain.override(["steps.images.params.steps=3"], None, registry.fields)
    assert exact.steps["images"].params["steps"] == 3, "a step that is named is meant"


def test_a_failing_step_keeps_its_exit_code_and_skips_the_rest(registry: Registry, store: LocalStore) -> None:
    results = execute(toy(fail_at=3), registry, store)
    assert [r.status for r in results] == ["ran", "failed", "skipped", "skipped"]
    assert exit_code(results) == DataError.exit_code and "upside down" in results[1].error


def test_with_keep_going_what_does_not_need_the_failed_step_runs(registry: Registry, store: LocalStore) -> None:
    content = toy(fail_at=3).model_dump()
    content["steps"] |= {
        "alone": {"task": "toy.score", "inputs": {"models": ["b"]}},
        "after": {"task": "toy.score", "inputs": {"models": ["a"]}, "seed": 2},
        "bad": {"task": "toy.misread"},
    }
    pipeline = Pipeline.parse(content)
    stopping = {r.name: r.status for r in execute(pipeline, registry, store)}
    assert stopping["a"] == "failed" and "ran" not in [stopping[name] for name in ("b", "report", "alone", "after", "bad")]
    results = {r.name: r for r in execute(pipeline, registry, store, keep_going=True)}
    told = {name: results[name].status for name in ("images", "a", "b", "report", "alone", "after", "bad")}
    assert told == {"images": "reused", "a": "failed", "b": "ran", "report": "skipped", "alone": "ran", "after": "skipped", "bad": "failed"}
    assert results["report"].error == results["after"].error == "it needs 'a', which failed"
    assert exit_code(list(results.values())) == DataError.exit_code, "that of the first failure"
    polls = iter(range(100))
    stopped = execute(toy(steps=50), registry, store, keep_going=True, stop=lambda: next(polls) > 8)
    assert [r.outcome for r in stopped] == ["reused", "stopped", "skipped", "skipped"] and "was stopped in step 'a'" in stopped[2].error


def test_interrupted_then_resumed_equals_uninterrupted(registry: Registry, store: LocalStore, tmp_path: Path) -> None:
    whole = execute(toy(), registry, LocalStore(tmp_path / "other"))
    polls = iter(range(100))
    broken = execute(toy(), registry, store, stop=lambda: next(polls) == 5)
    assert broken[1].status == "failed" and broken[1].exit_code == 130
    assert list(store.root.glob("work/*/ckpt-main-*.pt"))
    resumed = execute(toy(), registry, store)
    assert [r.digest for r in resumed] == [r.digest for r in whole]
    assert not list(store.root.glob("work/*/*"))


def test_a_look_at_what_is_kept_fails_no_step(tmp_path: Path) -> None:
    """What is listed may be gone before it is looked at, as where a step has just been committed."""
    (tmp_path / f"ckpt-main-000000007-{'0' * 40}.pt").touch()
    (tmp_path / "a.jsonl").symlink_to("gone")
    (tmp_path / "b.jsonl").write_text("rows")
    assert kept(tmp_path) == {"main": 7, "b.jsonl": 4}
    assert kept(tmp_path / "gone") == {}


@pytest.mark.parametrize(("reached", "begun"), [([3, 7, 9], 2), ([3, 3, 3], 2), ([0, 5, 5], 1)])
def test_a_step_that_is_killed_is_begun_again_once_and_only_where_it_came_further(
    registry: Registry, store: LocalStore, reached: list[int], begun: int
) -> None:
    """An executor whose process is always killed, after it had a checkpoint of that step."""
    step = make_plan(toy(), registry, store).steps[0]
    times: list[int] = []

    class Deadly(InlineExecutor):
        def submit(self, request: StepRequest, emit: Any) -> Future[StepResult]:
            at = reached[len(times)]
            times.append(at)
            work = store.work(request.key)
            work.mkdir(parents=True, exist_ok=True)
            if at:
                (work / f"ckpt-main-{at:09d}-{'0' * 40}.pt").touch()
            done: Future[StepResult] = Future()
            done.set_result(StepResult.of(request, "failed", error="killed", exit_code=1, signal="SIGKILL"))
            return done

    result = Engine(registry, store, executor=Deadly(registry, store)).perform(step)
    assert result.status == "failed" and times == reached[:begun]


def test_redo_makes_a_committed_artifact_again(registry: Registry, store: LocalStore) -> None:
    execute(toy(), registry, store)
    again = execute(toy(), registry, store, options=Options(device="cpu", redo=("a",)))
    assert [r.status for r in again] == ["reused", "ran", "reused", "reused"]


@pytest.mark.parametrize(
    ("change", "path", "words"),
    [
        ({"task": "toy.tarin"}, "steps.a.task", "Did you mean 'toy.train'"),
        ({"inputs": {"images": "imags"}}, "steps.a.inputs.images", "Did you mean 'images'"),
        ({"inputs": {"images": "b"}}, "steps.a.inputs.images", "expects ImageSet, but 'b' gives Model (toy.train)"),
        ({"inputs": {"imges": "images"}}, "steps.a.inputs.imges", "Did you mean 'images'"),
        ({"inputs": {}}, "steps.a.inputs.images", "steps that give one: images"),
        ({"inputs": {"images": ["images"]}}, "steps.a.inputs.images", "expects one step"),
        ({"params": {"stpes": 3}}, "steps.a.params.stpes", "Did you mean 'steps'"),
        ({"params": {"steps": "many"}}, "steps.a.params.steps", "given: 'many'"),
        ({"inputs": {"images": "key:abcdef123456"}}, "steps.a.inputs.images", "no artifact"),
        ({"inputs": {"images": "ref:none"}}, "steps.a.inputs.images", "there is no ref"),
        ({"input": {}}, "steps.a.input", "Did you mean 'inputs'"),
    ],
)  # fmt: skip
def test_mistakes_name_the_place_and_the_fix(registry: Registry, store: LocalStore, change: dict, path: str, words: str) -> None:
    content = toy().model_dump()
    content["steps"]["a"] |= change
    with pytest.raises(PipelineError) as caught:
        make_plan(Pipeline.parse(content), registry, store)
    assert caught.value.path == path and words in str(caught.value), str(caught.value)
    assert not list(store.keys())


def test_a_cycle_is_shown_as_the_cycle(registry: Registry, store: LocalStore) -> None:
    content = toy().model_dump()
    content["steps"]["images"] = {"task": "toy.train", "inputs": {"images": "a"}}
    with pytest.raises(PipelineError, match=r"cycle: .*images -> a|cycle: .*a -> images"):
        make_plan(Pipeline.parse(content), registry, store)


def test_two_plugins_of_one_name_are_both_named(registry: Registry, store: LocalStore) -> None:
    registry._add_method(Toy, Origin("again", "other-package", "2"))
    with pytest.raises(PluginError, match=r"toy 1 .*other-package 2"):
        make_plan(toy(), registry, store)


def test_an_observer_that_raises_stops_nothing(registry: Registry, store: LocalStore) -> None:
    from fabloom.hooks import hookimpl

    heard: list[object] = []

    class Loud:
        @hookimpl
        def fabloom_step_started(self, step: object) -> None:
            raise RuntimeError("observer is broken")

        @hookimpl
        def fabloom_step_finished(self, step: PlannedStep, result: StepResult, manifest: Mapping[str, Any] | None) -> None:
            heard.append((step.pipeline, result.status, manifest and manifest == store.manifest(result.key)))

    registry.hooks.register(Loud())
    pipeline = toy()
    assert exit_code(execute(pipeline, registry, store)) == 0
    assert heard == [(pipeline.name, "ran", True)] * 4
    heard.clear()
    failing = pipeline.override(["steps.a.params.fail_at=2"], None)
    assert exit_code(execute(failing, registry, store)) == 2
    assert (pipeline.name, "failed", None) in heard
