"""How much a run will write is told before it: sizes go from step to step, and what is named comes out so."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from fabloom.method import Outline
from fabloom.pipeline import Pipeline
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


def test_a_folder_says_what_its_pipeline_will_write_and_hold(
    registry: Registry, store: LocalStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(4):
        for part, folder in ((f"{number}_test", tmp_path), (f"{number}_temp", tmp_path)):
            Image.new("L", (60, 50), number).save(folder / f"{part}.png")
    load = {"path": str(tmp_path), "layout": "pairs", "test": "{name}_test.png", "reference": "{name}_temp.png"}
    steps: dict[str, Any] = {
        "images": {"task": "images.load", "params": load},
        "labelled": {"task": "reference-difference.label", "inputs": {"images": "images"}},
        "train": {"task": "images.split", "inputs": {"images": "labelled"}, "params": {"part": "train"}},
        "varied": {"task": "images.augment", "inputs": {"images": "train"}, "params": {"count": 7}},
        "tiles": {"task": "images.tile", "inputs": {"images": "labelled"}, "params": {"size": 32, "stride": 20}},
        "both": {"task": "images.join", "inputs": {"images": ["labelled", "labelled"]}},
        "rest": {"task": "images.join", "inputs": {"images": ["labelled", "train"]}},
        "segmenter": {"task": "unet.train", "inputs": {"images": "tiles"}},
    }
    found = outlines(make_plan(Pipeline.parse({"name": "own", "steps": steps}), registry, store).steps, store)
    plane = 50 * 60
    assert found["images"].size == 4 * 2 * plane + 4 * 4 and found["images"].arrays["references"][0] == (4, 1, 50, 60)
    assert found["labelled"].size == 4 * (3 * plane + 1 + 4)
    assert found["train"].arrays == {} and found["train"].size == found["labelled"].size and found["train"].image == (1, 50, 60)
    assert found["varied"].arrays["images"][0] == (7, 1, 50, 60)
    assert found["tiles"].arrays["references"][0] == (4 * 2 * 3, 1, 32, 32)
    assert found["both"].arrays["masks"][0] == (8, 50, 60) and found["rest"].size == 2 * found["labelled"].size
    assert found["segmenter"].size is None and found["segmenter"].memory == found["tiles"].size
    monkeypatch.setattr(module, "_memory", lambda: 10_000)
    step = next(one for one in make_plan(Pipeline.parse({"name": "own", "steps": steps}), registry, store).steps if one.name == "segmenter")
    assert room([step], found, store) == [
        "Step 'segmenter' holds 74 kB of memory at least, and this machine has 10 kB: take fewer or smaller images."
    ]
