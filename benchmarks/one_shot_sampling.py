"""SinSEMI: few steps against 300, and guidance against none, in every score of quality.evaluate.

    FABLOOM_DATA_DIR=... FABLOOM_WEIGHTS_DIR=... python benchmarks/one_shot_sampling.py --store STORE [--count 100] [--train-steps 3000]

Trains (or reuses) one model on the real line pair, samples it with several numbers of steps and strengths, evaluates each set, and
times the sampler alone: CPU seconds of one torch thread for an image, few and 300 steps in turn. A score of few steps is held
against 300 steps from another seed as well: two sets of 300 steps differ by chance too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import fabloom
from fabloom.plugins.blocks.anchor import lattice_of, zooms_of
from fabloom.plugins.blocks.streams import streams
from fabloom.plugins.one_shot.sinsemi.params import SampleParams
from fabloom.plugins.one_shot.sinsemi.sampling import Sampler, Trained
from fabloom.precision import autocast, choose

FEW, MANY = (10, 12, 20), 300
STRENGTHS = (0.0, 0.1, 0.5, 1.0)


def pipeline(count: int, train_steps: int) -> fabloom.Pipeline:
    line_pair = str(Path(os.environ["FABLOOM_DATA_DIR"]) / "line_pair")
    steps: dict[str, Any] = {
        "images": {"task": "images.load", "params": {"path": line_pair, "clean": ["no_defect*"], "defect": ["bridge_defect*"]}},
        "model": {"task": "sinsemi.train", "inputs": {"images": "images"}, "params": {"steps": train_steps}},
    }

    def add(name: str, params: Mapping[str, Any], seed: int = 0) -> None:
        steps[name] = {"task": "sinsemi.sample", "inputs": {"model": "model"}, "params": {"count": count, **params}, "seed": seed}
        steps[f"{name}_quality"] = {"task": "quality.evaluate", "inputs": {"images": name, "reference": "images"}}

    for number in (*FEW, MANY):
        add(f"steps_{number}", {"steps": number})
    add(f"steps_{MANY}_again", {"steps": MANY}, seed=1)
    for strength in STRENGTHS:
        for on, until in (("state", 1.0), ("clean", 0.7)):
            guidance = {"strength": strength, "on": on, "until": until}
            if strength or on == "state":
                add(f"guided_{on}_{strength}".replace(".", "_"), {"guidance": guidance} if strength else {"batch": 15})
    return fabloom.Pipeline.model_validate({"name": "one-shot-sampling", "seed": 7, "steps": steps})


def scores(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, tuple[float, list[float]]]:
    """Every number that has an interval, by its path."""
    found: dict[str, tuple[float, list[float]]] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            found.update(scores(value, f"{prefix}{name}."))
        elif isinstance(metrics.get(f"{name}_ci"), list) and isinstance(value, int | float):
            found[f"{prefix}{name}"] = (float(value), metrics[f"{name}_ci"])
    return found


def table(title: str, columns: Mapping[str, dict[str, tuple[float, list[float]]]]) -> None:
    print(f"\n{title}\n| score | {' | '.join(columns)} |\n|---|{'---|' * len(columns)}")
    for name in next(iter(columns.values())):
        cells = [f"{c[name][0]:.4g} [{c[name][1][0]:.4g}, {c[name][1][1]:.4g}]" if name in c else "" for c in columns.values()]
        print(f"| {name} | {' | '.join(cells)} |")


def seconds_an_image(model: Any, numbers: tuple[int, ...], batch: int, rounds: int) -> dict[int, float]:
    device = torch.device("cpu")
    trained = replace(Trained.load(model, device), arithmetic=autocast(device, choose("auto", device).used))
    sizes = trained.scales.sizes
    lattice = lattice_of(model.config)
    contexts = [lattice.phase(size, zoom)[None] for size, zoom in zip(sizes, zooms_of(sizes), strict=True)]
    spent: dict[int, list[float]] = {number: [] for number in numbers}
    for turn in range(rounds + 1):
        for number in numbers:
            sampler = Sampler(trained, SampleParams(steps=number), sizes, contexts, [number] * len(sizes), None)
            began = time.process_time()
            sampler.generate(streams(turn, range(batch)))
            if turn:  # the first turn warms up
                spent[number].append((time.process_time() - began) / batch)
    return {number: statistics.median(found) for number, found in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--train-steps", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=2)
    given = parser.parse_args()
    torch.set_num_threads(1)
    made = fabloom.run(pipeline(given.count, given.train_steps), store=given.store, engine="inline")
    store = fabloom.open_store(given.store)
    key = {step.name: str(step.key) for step in made.steps}
    found = {name.removesuffix("_quality"): scores(store.get(key[name]).metrics) for name in key if name.endswith("_quality")}
    by_steps = {name: found[name] for name in [*(f"steps_{n}" for n in FEW), f"steps_{MANY}", f"steps_{MANY}_again"]}
    table(f"Steps a scale, {given.count} images, sampler sde", by_steps)
    many = by_steps[f"steps_{MANY}"]
    for number in FEW:
        apart = [
            n for n, (_, (low, high)) in by_steps[f"steps_{number}"].items() if n in many and (low > many[n][1][1] or high < many[n][1][0])
        ]
        print(f"{number} steps: intervals apart from those of {MANY} steps in {len(apart)} of {len(many)} scores {apart}")
    table("Guidance strength, 12 steps", {n: v for n, v in found.items() if n.startswith("guided")})
    cost = seconds_an_image(store.get(key["model"]), (*FEW, MANY), 4, given.rounds)
    for number in FEW:
        ratio = cost[MANY] / cost[number]
        print(f"{number} steps: {cost[number]:.3f} CPU s an image, {ratio:.1f} times less than {MANY} steps ({cost[MANY]:.2f})")


if __name__ == "__main__":
    main()
