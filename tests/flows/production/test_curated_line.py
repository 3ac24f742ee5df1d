"""A line whose challenger learns from generated images that are like what the champion misses: two nights in miniature."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from fabloom.flows.production.night import How, retrain
from fabloom.flows.production.spec import Spec
from fabloom.flows.run.api import open_store, run
from fabloom.registry import Registry

SIZE = {"size": 32, "defect_low": 0.5, "defect_high": 1.0}
FEW = {"steps": 2, "batch": 4, "decoder_channels": [16, 8, 8], "accept_clean": True}
STEPS: dict[str, Any] = {
    "images": {"task": "line-pair.simulate", "params": {"count": 12, **SIZE}},
    "validation": {"task": "line-pair.simulate", "params": {"count": 12, **SIZE}, "seed": 2},
    "cut": {"task": "copy-paste.train", "inputs": {"images": "images"}},
    "samples": {"task": "copy-paste.sample", "inputs": {"model": "cut"}, "params": {"count": 12, "rate": 2.0}},
    "first": {"task": "unet.train", "inputs": {"images": "images"}, "params": FEW},
    "missed": {"task": "curate.misses", "inputs": {"images": "validation", "model": "first"}},
    "chosen": {
        "task": "curate.select",
        "inputs": {"images": "samples", "model": "first", "reference": "images", "misses": "missed"},
        "params": {"count": 6},
    },
    "together": {"task": "images.join", "inputs": {"images": ["images", "chosen"]}},
    "segmenter": {"task": "unet.train", "inputs": {"images": "together"}, "params": FEW},
}


def test_the_champion_says_what_the_next_challenger_learns_from(tmp_path: Path) -> None:
    (tmp_path / "pipeline.yaml").write_text(yaml.safe_dump({"name": "curated", "steps": STEPS}))
    registry = Registry.load()
    store = open_store(tmp_path / "store", registry)
    held = run(
        {"name": "held", "steps": {"images": {"task": "line-pair.simulate", "params": {"count": 16, **SIZE}, "seed": 9}}},
        store=store, registry=registry, device="cpu",
    )  # fmt: skip
    store.refs.set("etch/heldout", held["images"].key)
    content = {
        "line": "etch", "pipeline": str(tmp_path / "pipeline.yaml"), "challenger": "segmenter", "feedback": "first",
        "evaluate": {"test": "ref:etch/heldout", "params": {"resamples": 100, "shifts": []}}, "options": {"device": "cpu"},
        "gate": [{"metric": "iou_defect", "better": "up", "by": 0.01}],
    }  # fmt: skip
    spec, how = Spec.parse(content), How(registry, store)
    first, second = retrain(spec, how), retrain(spec, how)
    assert (first.outcome, second.outcome) == ("Promoted", "Rejected"), "networks of two steps do not get better"
    assert first.run is not None and second.run is not None
    champion = first.record.challenger
    assert first.run["chosen"].attrs["segmenter"] == first.run["first"].key != champion
    assert second.run["chosen"].attrs["segmenter"] == champion and "first" not in {step.name for step in second.run.steps}
    assert second.record.champion == champion != second.record.challenger
    assert {step.name for step in second.run.steps if step.status == "reused"} == {"images", "validation", "cut", "samples"}
