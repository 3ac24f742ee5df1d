"""The list of runs: what is noted of one, how one is found, and that no record, kill or full disk costs a run."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from fabloom.errors import UserError
from fabloom.flows.run import api, log
from fabloom.flows.run.again import render
from fabloom.flows.run.log import find, listed
from fabloom.kinds import ImageSet, Metric, Report
from fabloom.method import Context, Method, task
from fabloom.params import Params
from fabloom.pipeline import Pipeline
from fabloom.registry import Origin, Registry
from fabloom.storage.backends.local import LocalStore


class Found(list[int]):
    """Stands for a set of images with a domain."""

    @property
    def domain(self) -> Any:
        return np.array(self)


class Broken(Params):
    broken: bool = False
    value: float = 0.5


class Note(Method):
    """Two steps; the second fails on request, as long as a file says so."""

    name = "note"

    @task(version=1)
    def make(self, ctx: Context, params: Params) -> ImageSet:
        return ImageSet.write(ctx, np.zeros((2, 1, 8, 8), np.uint8))

    @task(version=1)
    def judge(self, ctx: Context, params: Broken, *, images: ImageSet) -> Report:
        if params.broken and os.environ.get("FABLOOM_TEST_BROKEN"):
            raise ZeroDivisionError("x" * 9000)
        score = Metric(params.value, (params.value - 0.1, params.value + 0.1), unit="nm", better="down", role="headline")
        return Report.write(ctx, {"error": score}, verdict="As it should be.")


@pytest.fixture
def registry() -> Registry:
    found = Registry()
    found._add_method(Note, Origin("note", "note", "1"))
    assert not found.problems
    return found


def run(store: LocalStore, registry: Registry, name: str = "noted", **params: Any) -> Any:
    steps = {"images": {"task": "note.make"}, "judged": {"task": "note.judge", "inputs": {"images": "images"}, "params": params}}
    return api.run({"name": name, "steps": steps}, store=store, registry=registry, device="cpu", check=False)


def test_a_run_is_noted_with_its_headline_and_repeating_it_replaces_the_note(store: LocalStore, registry: Registry) -> None:
    result = run(store, registry)
    (one,), problems = listed(store)
    assert not problems and (one.run, one.pipeline_name, one.outcome, one.exit_code) == (result.run, "noted", "done", 0)
    assert one.headline | {"told": ""} == {
        "step": "judged", "metric": "error", "name": "", "value": 0.5, "unit": "nm", "interval": [0.4, 0.6], "better": "down", "told": "",
    }  # fmt: skip
    assert one.headline["told"] == "As it should be. error (lower is better) is 0.50 [0.40, 0.60] nm."
    assert [(s["name"], s["status"], s["key"]) for s in one.steps] == [(s.name, "ran", s.key) for s in result.steps]
    run(store, registry)
    (again,), _ = listed(store)
    assert [s["status"] for s in again.steps] == ["reused"] * 2 and again.finished > one.finished and again.seconds == 0


def test_a_failed_run_is_noted_and_its_success_later(store: LocalStore, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FABLOOM_TEST_BROKEN", "1")
    assert run(store, registry, broken=True).exit_code == 1
    (one,), _ = listed(store)
    assert (one.outcome, one.exit_code, one.headline) == ("failed", 1, {}) and [s["status"] for s in one.steps] == ["ran", "failed"]
    assert "ZeroDivisionError" in one.steps[1]["error"] and len(one.steps[1]["error"]) <= log.LONGEST
    page = render(one, registry, store).read_text()
    assert "Step &#39;judged&#39; failed" in page
    monkeypatch.delenv("FABLOOM_TEST_BROKEN")
    assert run(store, registry, broken=True).exit_code == 0
    (one,), _ = listed(store)
    assert one.outcome == "done" and one.headline["value"] == 0.5


def test_a_page_is_rendered_again_from_the_record_alone(store: LocalStore, registry: Registry, tmp_path: Path) -> None:
    result = run(store, registry)
    before = result.report_path.read_text()
    (one,), _ = listed(store)
    result.report_path.unlink()
    assert render(one, registry, store) == result.report_path and result.report_path.read_text() == before
    assert render(one, registry, store, tmp_path / "deep" / "copy.html").read_text() == before
    store.set_aside(result.steps[1].key)
    page = render(one, registry, store).read_text()
    assert "no longer in the store" in page and "0.50 [0.40, 0.60]" not in page
    store.set_aside(result.steps[0].key)
    with pytest.raises(UserError, match="nothing of run"):
        render(one, registry, store)


def test_runs_are_found_by_number_name_beginning_and_pipeline(store: LocalStore, registry: Registry) -> None:
    names = [run(store, registry, name, value=value).run for name, value in (("alpha", 0.1), ("alpha", 0.2), ("beta", 0.3))]
    known, _ = listed(store)
    assert [one.run for one in known] == names[::-1]
    for text, wanted in (("1", 2), ("3", 0), ("~0", 2), ("~1", 1), (names[0], 0), ("alpha", 1), ("beta-", 2), (names[1][:-2], 1)):
        assert find(known, text).run == names[wanted], text
    for text, words in (
        ("4", "the list has 3"), ("0", "no run 0"), ("~3", "the list has 3"), ("alpha-", "begins 2 runs"), ("bta", "no run 'bta'"), ("", "begins 3 runs"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=words):
            find(known, text)
    with pytest.raises(UserError, match="no runs yet"):
        find([], "1")


def test_the_list_is_bounded(store: LocalStore, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "MOST", 2)
    names = [run(store, registry, value=value).run for value in (0.1, 0.2, 0.3, 0.4)]
    assert [one.run for one in listed(store)[0]] == names[:1:-1] and len(list(store.pages.glob("*.json"))) == 2


def test_what_is_no_record_is_told_and_passed_over(store: LocalStore, registry: Registry) -> None:
    name = run(store, registry).run
    whole = json.loads((store.pages / f"{name}.json").read_text())
    bad: dict[str, bytes] = {
        "torn": b'{"run": "to', "empty": b"", "list": b"[]", "deep": b"[" * 100_000, "text": b"\xff\xfe", "other-name": json.dumps(whole).encode(),
        **{f"field{i}": json.dumps({**whole, "run": f"field{i}", **change}).encode()
           for i, change in enumerate(({"outcome": "odd"}, {"steps": [1]}, {"pipeline": {}}, {"headline": None}, {"seconds": "x"}, {"finished": 3}))},
    }  # fmt: skip
    for other, content in bad.items():
        (store.pages / f"{other}.json").write_bytes(content)
    (store.pages / "folder.json").mkdir()
    (store.pages / "pipe.json").symlink_to("/dev/zero")
    found, problems = listed(store)
    assert [one.run for one in found] == [name] and len(problems) == len(bad) and all("remove it" in told for told in problems)


def test_a_kill_between_the_writes_leaves_a_list_that_can_be_read(
    store: LocalStore, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = run(store, registry, value=0.1).run
    (store.pages / f".{first}.json.0123456789abcdef.tmp").write_text('{"half')  # what a kill before the renaming leaves

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fabloom.flows.report.page.write_page", killed)  # after the record, before the page
        with pytest.raises(KeyboardInterrupt):
            run(store, registry, value=0.2)
        patch.setattr(log, "write_durably", killed)  # before the record
        with pytest.raises(KeyboardInterrupt):
            run(store, registry, value=0.3)
    found, problems = listed(store)
    assert not problems and len(found) == 2 and found[1].run == first
    assert not found[0].page(store).exists() and render(found[0], registry, store).is_file(), "the page is made from the record"


def test_predicted_masks_are_told_by_folder_count_and_model() -> None:
    steps = {
        "images": {"task": "images.load", "params": {"path": "/data/tuesday"}},
        "found": {"task": "unet.segment", "inputs": {"images": "images", "model": f"key:{'ab' * 20}"}},
    }
    plan: Any = SimpleNamespace(pipeline=Pipeline.parse({"name": "predict", "steps": steps}))
    last: Any = SimpleNamespace(name="found", task="unet.segment", status="ran", key="k")
    masks = np.array([0, 1, 1])
    store: Any = SimpleNamespace(get=lambda key: Found(masks))
    assert log.findings_of(plan, [last], store) == {"step": "found", "told": "tuesday: 2 of 3 images with a defect, by model abababababab"}
    damaged: Any = SimpleNamespace(get=lambda key: 1 / 0)
    other: Any = SimpleNamespace(name="found", task="a.b", status="ran", key="k")
    assert log.findings_of(plan, [last], damaged) == log.findings_of(plan, [other], store) == log.findings_of(plan, [], store) == {}


def test_a_record_that_cannot_be_written_costs_no_run(
    store: LocalStore, registry: Registry, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(log, "write_durably", full)
    assert run(store, registry).exit_code == 0 and listed(store) == ([], [])
    assert "cannot be listed: No space left on device" in caplog.text
