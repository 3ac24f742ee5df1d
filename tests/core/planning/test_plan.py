"""Planning: the order of steps and what it costs when there are many. Costs are ratios of CPU time, never seconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fabloom.errors import UserError
from fabloom.kinds import ImageSet, Report
from fabloom.method import Context, Method, task
from fabloom.params import Params
from fabloom.pipeline import Pipeline
from fabloom.planning.plan import Plan, make_plan
from fabloom.registry import Origin, Registry
from fabloom.running.engine import run_inline
from fabloom.storage.backends.local import LocalStore


class Ink(Method):
    name = "ink"

    @task(version=1)
    def draw(self, ctx: Context, params: Params) -> ImageSet: ...

    @task(version=1)
    def judge(self, ctx: Context, params: Params, *, reports: list[Report], images: ImageSet | None = None) -> Report: ...


def registry() -> Registry:
    made = Registry()
    made._add_method(Ink, Origin("ink", "ink", "1"))
    assert not made.problems
    return made


def judged(needs: dict[str, list[str]]) -> Pipeline:
    """A step of that name for each entry, made from the steps it lists."""
    return Pipeline.parse({"name": "p", "steps": {n: {"task": "ink.judge", "inputs": {"reports": list(of)}} for n, of in needs.items()}})


def chain(count: int, *, backwards: bool = False) -> Pipeline:
    needs = {f"s{i}": [f"s{i - 1}"] if i else [] for i in range(count)}
    return judged(dict(reversed(needs.items())) if backwards else needs)


def cpu(run: Callable[[], Any]) -> float:
    """CPU seconds of the quickest of three."""
    spent = []
    for _ in range(3):
        began = time.process_time()
        run()
        spent.append(time.process_time() - began)
    return min(spent)


@st.composite
def dags(draw: st.DrawFn) -> dict[str, list[str]]:
    """Needs by name, in an order of the file that has nothing to do with the arrows; a need may be named twice."""
    names = [f"s{i}" for i in range(draw(st.integers(1, 12)))]
    needs = {n: draw(st.lists(st.sampled_from(names[:i]), max_size=4)) if i else [] for i, n in enumerate(names)}
    return {name: needs[name] for name in draw(st.permutations(names))}


@settings(max_examples=200, deadline=None)
@given(needs=dags())
def test_steps_keep_the_order_of_the_file_wherever_the_arrows_allow_it(needs: dict[str, list[str]], tmp_path_factory: Any) -> None:
    expected: list[str] = []
    while len(expected) < len(needs):  # the definition: of the steps that can run, the first of the file
        expected.append(next(n for n, of in needs.items() if n not in expected and all(one in expected for one in of)))
    plan = make_plan(judged(needs), registry(), LocalStore(tmp_path_factory.getbasetemp() / "order"))
    assert [step.name for step in plan.steps] == expected


@pytest.mark.parametrize("backwards", [False, True])
def test_planning_is_linear_in_the_steps(store: LocalStore, backwards: bool) -> None:
    known = registry()
    few, many = (chain(count, backwards=backwards) for count in (400, 1600))
    assert cpu(lambda: make_plan(many, known, store)) < 8 * cpu(lambda: make_plan(few, known, store))  # 4 is linear, 64 cubic


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML was built without libyaml")
def test_a_long_pipeline_is_parsed_in_c(tmp_path: Path) -> None:
    file = tmp_path / "many.yaml"
    lines = [f"  s{i}: {{task: ink.judge, inputs: {{reports: []}}, seed: {i}}}" for i in range(400)]
    file.write_text("\n".join(["name: many", "steps:", *lines]))
    assert cpu(lambda: Pipeline.load(file)) < 0.6 * cpu(lambda: yaml.safe_load(file.read_text()))


def test_a_plan_finds_a_step_by_name_without_looking_at_the_others(store: LocalStore) -> None:
    made = make_plan(chain(3), registry(), store)

    class Counted(tuple):
        walks = 0

        def __iter__(self) -> Any:
            Counted.walks += 1
            return super().__iter__()

    plan = Plan(made.pipeline, Counted(made.steps))
    assert [plan.step(name).name for name in ("s2", "s0", "s1")] == ["s2", "s0", "s1"]
    assert Counted.walks == 1
    with pytest.raises(UserError, match="Did you mean 's1'"):
        plan.step("s11")


@dataclass
class Told:
    """A result that counts how often it was asked for its status."""

    name: str
    status_: str = "ran"
    asked: list[str] = field(default_factory=list)
    exit_code: int = 1

    @property
    def status(self) -> str:
        self.asked.append(self.name)
        return self.status_


def test_the_inline_engine_asks_each_result_once_whether_it_failed(store: LocalStore) -> None:
    plan = make_plan(chain(50), registry(), store)
    asked: list[str] = []

    class Fake:
        keep_going = False

        def perform(self, step: Any) -> Told:
            return Told(step.name, "failed" if step.name == "s40" else "ran", asked)

    results = run_inline(plan, Fake())  # type: ignore[arg-type]
    assert asked == [f"s{i}" for i in range(41)]
    assert {r.error for r in results[41:]} == {"step 's40' failed"}
