"""The last lines of a run: which segmenter one takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import fabloom
from fabloom.flows.cli import closing
from fabloom.flows.run.result import RunResult
from fabloom.storage.backends.local import LocalStore

NET = {"decoder_channels": [8, 8, 8], "steps": 1, "batch": 2, "accept_clean": True}
STEPS: dict[str, Any] = {
    "images": {"task": "line-pair.simulate", "params": {"count": 8, "size": 16}},
    "test": {"task": "line-pair.simulate", "seed": 1, "params": {"count": 12, "size": 16}},
    "plain": {"task": "unet.train", "inputs": {"images": "images"}, "params": NET},
    "both": {"task": "unet.train", "inputs": {"images": "images"}, "params": {**NET, "steps": 2}},
    "report": {
        "task": "unet.evaluate", "inputs": {"images": "test", "model": "both", "baseline": "plain"}, "params": {"resamples": 100, "shifts": []}
    },
}  # fmt: skip


def ran(store: LocalStore, steps: dict[str, Any]) -> RunResult:
    return fabloom.run({"name": "small", "steps": steps}, store=store, device="cpu", engine="inline")


@pytest.mark.parametrize(
    ("verdict", "taken", "why"),
    [("helped", "both", "shown to be better than 'plain'"), ("hurt", "plain", "since 'both' was not shown"),
     ("not told apart", "plain", "since 'both'"), ("too few sources", "plain", "since 'both'")],
)  # fmt: skip
def test_a_model_that_is_not_shown_to_be_better_is_not_the_one_to_take(
    store: LocalStore, monkeypatch: pytest.MonkeyPatch, verdict: str, taken: str, why: str
) -> None:
    result = ran(store, STEPS)
    report = result["report"]
    metrics = {**report.metrics, "difference": {"verdict": verdict}}
    monkeypatch.setattr(type(report), "metrics", property(lambda _: metrics))
    (line,) = [line for line in closing.closing(result) if line.startswith("Next:")]
    assert line.startswith(f"Next: fabloom predict {result[taken].key[:12]} FOLDER -o findings") and why in line


def test_without_a_baseline_it_is_the_one_that_was_judged_or_the_only_one(store: LocalStore) -> None:
    alone = {name: dict(step) for name, step in STEPS.items()}
    alone["report"]["inputs"] = {"images": "test", "model": "both"}
    result = ran(store, alone)
    assert closing.segmenter(result) == (result["both"].key, "")
    unjudged = {name: step for name, step in STEPS.items() if name in ("images", "plain")}
    assert closing.segmenter(ran(store, unjudged)) == (result["plain"].key, "")
    assert closing.segmenter(ran(store, {**unjudged, "both": STEPS["both"]})) == ("", ""), "two, and none was judged"


def test_of_score_maps_it_is_what_made_the_first(store: LocalStore, tmp_path: Path) -> None:
    steps = {
        "images": {"task": "line-pair.simulate", "params": {"count": 24, "size": 16}},
        "test": {"task": "line-pair.simulate", "seed": 1, "params": {"count": 12, "size": 16}},
        "bank": {"task": "memory-bank.fit", "inputs": {"images": "images"}},
        "other": {"task": "unet.train", "inputs": {"images": "images"}, "params": NET},
        "found": {"task": "memory-bank.segment", "inputs": {"images": "test", "model": "bank"}},
        "unlike": {"task": "unet.segment", "inputs": {"images": "test", "model": "other"}},
        "report": {
            "task": "score-maps.evaluate", "inputs": {"images": "test", "maps": ["found", "unlike"]},
            "params": {"entries": ["bank", "net"]},
        },
    }  # fmt: skip
    result = ran(store, steps)
    assert closing.segmenter(result) == (result["bank"].key, "")
