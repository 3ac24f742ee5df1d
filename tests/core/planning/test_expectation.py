"""What a plan expects, from manifests of earlier steps."""

from __future__ import annotations

import platform
import sys
from dataclasses import replace
from typing import Any

import pytest

from fabloom.kinds import ImageSet
from fabloom.method import Context, Method, Outline, PlannedStep, task
from fabloom.params import Params
from fabloom.planning.expectation import LATEST, READ, Expectation, expectations, rough, told
from fabloom.testing import MemoryStore
from fabloom.testing.running import plan_task

HERE = f"{sys.platform}-{platform.machine()}"


class Draw(Params):
    count: int = 10
    size: int = 32


class Drawing(Method):
    name = "drawing"

    @task(version=1)
    def draw(self, ctx: Context, params: Draw) -> ImageSet:
        raise NotImplementedError


class Past:
    """A store of which only what was is asked."""

    def __init__(self, *manifests: dict[str, Any]) -> None:
        self.manifests, self.read = manifests, 0

    def keys(self) -> list[str]:
        return [str(number) for number in range(len(self.manifests))]

    def committed_at(self, key: str) -> float:
        return float(key)

    def manifest(self, key: str) -> dict[str, Any]:
        self.read += 1
        return self.manifests[int(key)]


def step(**params: Any) -> PlannedStep:
    return plan_task(MemoryStore(), Drawing, "draw", params, 0, {})


def was(seconds: float, threads: int = 2, where: str = HERE, **params: Any) -> dict[str, Any]:
    facts = {"seconds": seconds, "threads": threads, "made_with": {"platform": where}, "files": {"images/c/0": [1000, "hash"]}}
    return {"preimage": dict(step(**params).preimage), **facts}


def expected(*past: dict[str, Any], **params: Any) -> Expectation:
    return expectations([step(**params)], Past(*past), 2)["draw"]  # type: ignore[arg-type]


def test_equal_parameters_give_the_median_of_the_latest() -> None:
    assert expected(*[was(100.0)] * 9, *[was(float(s)) for s in (7, 9, 8, 20, 8)]) == Expectation(8.0, 1000, LATEST)


def test_more_rows_take_longer_in_proportion_and_other_sizes_say_nothing() -> None:
    assert expected(was(10.0), count=40) == Expectation(40.0, 4000, 1)
    assert expected(was(10.0), count=40, size=64) == Expectation()
    assert expected(was(10.0, size=64), was(3.0)) == Expectation(3.0, 1000, 1)


@pytest.mark.parametrize("other", [{"threads": 8}, {"where": "plan9-mips"}])
def test_another_machine_tells_sizes_only(other: dict[str, Any]) -> None:
    assert expected(was(10.0, **other)) == Expectation(None, 1000, 0)


def test_another_version_says_nothing() -> None:
    one = step()
    newer = replace(one, spec=replace(one.spec, version=2))
    assert expectations([newer], Past(was(1.0)), 2)["draw"] == Expectation()  # type: ignore[arg-type]


def test_a_large_store_is_not_read_whole_and_nothing_is_where_nothing_runs() -> None:
    past = Past(*[was(1.0)] * (3 * READ))
    expectations([step()], past, 2)  # type: ignore[arg-type]
    assert past.read == READ
    idle = Past(was(1.0))
    assert expectations([], idle, 2) == {} and idle.read == 0  # type: ignore[arg-type]


def test_the_total_says_what_it_leaves_out() -> None:
    assert told([Expectation(60.0), Expectation(30.0), Expectation()]) == "about 90 s for 2 steps, unknown for 1"
    assert told([Expectation()]) == "" and told([]) == ""
    assert [rough(s) for s in (0.02, 0.43, 8.4, 200, 9000)] == ["0.1 s", "0.4 s", "8 s", "3 min", "2.5 h"]


def test_memory_is_the_most_that_equal_work_has_held_and_grows_with_no_turns() -> None:
    known = [{**was(1.0), "memory": size} for size in (700, 900, 0)]
    assert expected(*known).memory == 900 and expected(*known, count=40).memory == 900 and expected(*known, size=64).memory is None


def test_a_step_notes_its_peak_where_it_has_raised_that_of_its_process() -> None:
    from fabloom.running.execute import peak_memory

    before = peak_memory()
    held = bytearray(before + (64 << 20))  # more than ever
    held[::4096] = b"x" * len(held[::4096])
    assert peak_memory() >= before + (32 << 20)


def test_other_inputs_of_equal_parameters_count_by_the_rows_that_come_of_them() -> None:
    past = was(10.0) | {"arrays": {"images": {"shape": [10, 1, 8, 8], "dtype": "uint8"}}, "memory": 500}
    for rows, wanted in ((10, Expectation(10.0, 1000, 1, 500)), (40, Expectation(40.0, 4000, 1, None))):
        outlined = {"draw": Outline.of_images(rows, (1, 8, 8))}
        assert expectations([step()], Past(past), 2, outlined)["draw"] == wanted  # type: ignore[arg-type]
