"""Do labels of simulated structures teach? The default small U-Net on each of them, scored on other defects of another size.

    python benchmarks/structures.py [--store STORE] [--count 200] [--steps 300] [--seeds 3]

For each structure and seed: a training set whose defects have the lower sizes, a training, and a test set of another seed whose
defects have the upper ones. A line a training, with CPU seconds of one thread; then the means over seeds. `nothing` predicts no defect
anywhere: IoU over all images gives it the share of clean ones, IoU over images with a defect gives it 0.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from typing import Any

import fabloom

HOLES = {"train": {"defect_low": 0.4, "defect_high": 0.55}, "test": {"defect_low": 0.55, "defect_high": 0.8}}
STRUCTURES: dict[str, tuple[str, Mapping[str, Any], Mapping[str, Any]]] = {
    "holes, square": ("contact-hole.simulate", {"size": 40}, HOLES),
    "holes, hexagonal": ("contact-hole.simulate", {"size": 40, "array": "hexagonal"}, HOLES),
    "SRAM cells": (
        "sram-cell.simulate", {"size": 48, "pitch_nm": 288.0},
        {"train": {"defect_low": 0.4, "defect_high": 0.6}, "test": {"defect_low": 0.6, "defect_high": 0.9}},
    ),
    "lines": (
        "line-pair.simulate", {"size": 32},
        {"train": {"defect_low": 0.35, "defect_high": 0.6}, "test": {"defect_low": 0.6, "defect_high": 1.0}},
    ),
}  # fmt: skip
SCORES = ("iou", "iou_defect", "detection_rate", "false_alarm_rate")


def pipeline(name: str, count: int, steps: int, seed: int) -> fabloom.Pipeline:
    task, params, sizes = STRUCTURES[name]
    shared = {"count": count, **params}
    return fabloom.Pipeline.model_validate(
        {
            "name": "structures",
            "seed": seed,
            "steps": {
                "images": {"task": task, "params": {**shared, **sizes["train"]}},
                "test": {"task": task, "params": {**shared, **sizes["test"]}, "seed": 1000 + seed},
                "model": {"task": "unet.train", "inputs": {"images": "images"}, "params": {"steps": steps}},
                "report": {
                    "task": "unet.evaluate",
                    "inputs": {"images": "test", "model": "model"},
                    "params": {"resamples": 100, "shifts": []},
                },
            },
        }
    )


def scored(store: Any, wanted: fabloom.Pipeline) -> Mapping[str, Mapping[str, Any]]:
    """Metrics of the report. Exits where a step fails."""
    result = fabloom.run(wanted, store=store, engine="inline", device="cpu")
    failed = [f"{step.name}: {step.error}" for step in result.steps if step.error]
    if failed:
        raise SystemExit("; ".join(failed))
    report = store.get(next(step.key for step in result.steps if step.name == "report"))
    return dict(report.metrics)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--store")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    os.environ["FABLOOM_THREADS"] = "1"
    store = fabloom.open_store(given.store or tempfile.mkdtemp(prefix="fabloom-structures-"))
    found: dict[str, list[Mapping[str, Mapping[str, Any]]]] = {name: [] for name in STRUCTURES}
    for seed in range(given.seeds):
        for name, runs in found.items():
            began = time.process_time()
            runs.append(scored(store, pipeline(name, given.count, given.steps, seed)))
            told = ", ".join(f"{score} {float(runs[-1]['model'][score]):.3f}" for score in SCORES)
            print(f"{name}, seed {seed}: {told}; {time.process_time() - began:.0f} CPU s", flush=True)
    print(f"\n| structure | {' | '.join(SCORES)} | iou of nothing | iou_defect of nothing |\n|---|{'---|' * (len(SCORES) + 2)}")
    for name, runs in found.items():
        cells = []
        for score in SCORES:
            values = [float(run["model"][score]) for run in runs]
            cells.append(f"{statistics.mean(values):.3f} ({min(values):.3f}..{max(values):.3f})")
        cells += [f"{statistics.mean(float(run['nothing'][score]) for run in runs):.3f}" for score in ("iou", "iou_defect")]
        print(f"| {name} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
