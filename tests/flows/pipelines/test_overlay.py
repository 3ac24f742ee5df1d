"""`overlay`, `overlay-ablation` and `overlay-gpu`: whole in miniature, with every rival in the table."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import fabloom
from fabloom.kinds import Report
from fabloom.plugins.overlay.ikddit.params import SIZES
from fabloom.storage.backends.local import LocalStore

RIVALS = ["ridge", "ridge, with its errors", "climatology", "layer below", "floor: training wafers"]
SMALL = [
    "steps.maps.params={count: 120, size: 16}",
    "steps.test.params={count: 20, size: 16}",
    "steps.encoders.params={steps: 2, batch: 32, width: 16, layers: 1}",
]
MODELS = {
    "overlay": (["model"], ["drawn", "masked"], ["ikddit", "half masked"]),
    "overlay-gpu": (["model"], ["drawn", "masked"], ["ikddit", "half masked"]),
    "overlay-ablation": (
        ["r0", "r25", "r50", "r70", "maskdit", "dit"],
        ["of_r0", "of_r25", "of_r50", "of_r70", "of_maskdit", "of_dit"],
        ["0 % masked", "25 % masked", "50 % masked", "70 % masked", "without discriminator (MaskDiT)", "neither (DiT)"],
    ),
}


@pytest.fixture(scope="module", autouse=True)
def tiny() -> Iterator[None]:
    """A transformer that a test can afford, in place of the size `small`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(SIZES, "small", (2, 64, 2, 32, 1))
        yield


@pytest.mark.parametrize("name", list(MODELS))
def test_a_pipeline_of_overlay_runs_whole_and_holds_every_rival(name: str, kept: LocalStore) -> None:
    models, samples, entries = MODELS[name]
    changes = [f"steps.{model}.params.{change}" for model in models for change in ("steps=2", "batch=4", "patch=4")]
    if name == "overlay-gpu":
        changes.append("steps.model.params.size=small")
    changes += [f"steps.{sample}.params.{change}" for sample in samples for change in ("members=2", "steps=3")]
    store = fabloom.open_store(kept.root)
    result = fabloom.run(name, store=store, set=[*SMALL, *changes, "steps.report.params.members=2"], device="cpu", engine="inline")
    report = result["report"]
    assert isinstance(report, Report) and [row[0] for row in report.tables["Generators"].rows] == [*entries, *RIVALS]
    assert result.report_path is not None and "CRPS" in result.report_path.read_text()
