"""How much a run will write is told before it: sizes go from step to step, and what is named comes out so."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fabloom.method import Outline
from fabloom.planning import outlines as module
from fabloom.planning.outlines import outlines, room
from fabloom.planning.plan import make_plan
from fabloom.registry import Registry
from fabloom.storage.backends.local import LocalStore


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load()


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    return LocalStore(tmp_path / "store")


def planned(registry: Registry, store: LocalStore, *settings: str) -> Any:
    return make_plan(registry.pipeline("one-step").override(settings), registry, store)


def test_counts_and_sizes_go_from_step_to_step(registry: Registry, store: LocalStore) -> None:
    steps = planned(registry, store, "steps.images.params.count=10", "steps.offline.params.count=7").steps
    found = outlines(steps, store)
    assert found["images"].size == 10 * (32 * 32 * 2 + 1 + 2)
    assert found["teacher"].size is None and found["teacher"].image == (1, 32, 32)
    assert found["offline"].arrays["x_T"] == ((7, 1, 32, 32), "float16") and found["synthetic"].image == (1, 32, 32)
    waiting = [step for step in steps if step.name in ("images", "teacher")]
    assert room(waiting, found, store) == ["By their parameters 1 of these steps write up to 21 kB; of 1 it is not known."]


def test_a_disk_that_is_too_small_is_told_and_another_machines_is_not(
    registry: Registry, store: LocalStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = planned(registry, store).steps
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(free=5_000_000))
    assert room(steps, outlines(steps, store), store)[1].startswith("The disk of the store has 5.0 MB left")
    elsewhere: Any = SimpleNamespace(url="s3://bucket/store")
    assert len(room(steps, outlines(steps, store), elsewhere)) == 1


def test_a_method_that_fails_to_say_takes_no_plan_with_it(registry: Registry, store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = planned(registry, store).steps
    monkeypatch.setattr(steps[0].spec.method, "expect", classmethod(lambda cls, step, inputs: 1 // 0))
    assert "images" not in outlines(steps, store) and module.room(steps[:1], {}, store) == []


def test_bytes_are_those_of_the_dtypes() -> None:
    assert Outline({"a": ((2, 3), "float32"), "b": ((5,), "bool"), "c": ((), "int64")}).size == 24 + 5 + 8 and Outline().size is None
