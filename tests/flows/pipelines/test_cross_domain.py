"""The pipelines of defects that are located by knowing only which images have one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import fabloom
from fabloom.planning.plan import make_plan
from fabloom.plugins.data.sem_etch.method import SemEtch
from fabloom.registry import Registry
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import run_task

SHORT = [
    "steps.model.params.steps=40", "steps.model.params.network={channels: [8, 16], norm_groups: 4}", "steps.found.params.steps=1",
    "steps.pairs.params={steps: 1, false_alarms: 0.9, min_area: 1, reach: 1.0, outline: 0.9}", "steps.report.params.resamples=100",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, store: LocalStore) -> Path:
    """clean/ and defect/ of 30 files each, and no mask anywhere."""
    images = run_task(store, SemEtch, "simulate", {"count": 60, "size": 32, "patterns": ["lines"]})
    for row, domain in enumerate(images.domain[...]):  # type: ignore[attr-defined]
        place = tmp_path / "mine" / ("defect" if domain else "clean")
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.asarray(images.images[row])[0]).save(place / f"w{row:02}.png")  # type: ignore[attr-defined]
    return tmp_path / "mine"


def test_weak_labels_goes_from_a_folder_without_masks_to_maps_a_report_and_pairs(folder: Path, store: LocalStore) -> None:
    done = fabloom.run("weak-labels", set=[f"steps.images.params.path={folder}", *SHORT], store=store, device="cpu", engine="inline")
    found, report, pairs = done["found"], done["report"], done["pairs"]
    assert not found.attrs["seen"] and len(found) + len(done["train"]) == 60, "what is ranked nothing learned from"
    assert {"icddm", "memory-bank", "mean brightness", "constant"} <= report.metrics.keys()
    assert report.metrics["constant"]["image_auroc"] == 0.5
    assert set(found.source_names) <= {f"{kind}/w{row:02}.png" for kind in ("clean", "defect") for row in range(60)}
    assert (np.asarray(pairs.masks) > 0).any((1, 2)).all() and pairs.references is not None


def test_wafer_patterns_goes_from_maps_to_two_reports_with_what_learns_nothing_beside_it(store: LocalStore) -> None:
    small = {"steps.*.params.size": 16, "steps.images.params.count": 40, "steps.test.params.count": 40, "steps.model.params.steps": 4,
             "steps.model.params.network": "{channels: [8, 16], norm_groups: 4}", "steps.found.params.steps": 1,
             "steps.report.params.resamples": 100, "steps.ranks.params.resamples": 100}  # fmt: skip
    done = fabloom.run("wafer-patterns", set=[f"{at}={value}" for at, value in small.items()], store=store, device="cpu", engine="inline")
    dies, report = np.asarray(done["test"].images)[:, 1], done["report"]
    assert np.array_equal(np.asarray(done["found"].references)[:, 1], dies) and done["model"].config["given"] == 1
    assert {"icddm", "density of fails", "memory-bank", "nearest clean image"} <= report.metrics.keys() and report.pictures
    for rival in ("density of fails", "mean brightness"):
        assert done["ranks"].metrics[rival]["image_auroc"] > 0.8, "patterns are more fails, and more beside each other"


@pytest.mark.parametrize("name", ["icddm", "cdldm", "kdcddm", "wafer-patterns"])
def test_every_table_holds_what_needs_no_defect_image_and_what_needs_no_network(name: str, store: LocalStore) -> None:
    registry = Registry.load()
    plan = make_plan(registry.pipeline(name), registry, store)
    (report,) = (step for step in plan.steps if step.spec.full_name == "score-maps.evaluate")
    assert {"memory-bank", "nearest clean image"} <= set(report.params.entries)  # type: ignore[attr-defined]
