"""Do 50, 100 and 500 test images give one score, and what do the intervals say of it?

    python benchmarks/test_set_size.py [--store STORE] [--size 32] [--train 100] [--steps 150] [--pool 2000] [--draws 400]

The SinSEMI paper finds IoU over 50, 100 and 500 test images to agree. One small U-Net is trained on simulated lines and predicts a pool
of test images of other seeds, whose score is the truth. Test sets of each size are drawn from the pool, once of images of their own
and once, as the published one, as flips and noise of two images. Told for each: the half width of the 95 % interval, how often it
holds the truth, and how often a set of that size and one of 500 would be said to agree (their intervals overlap).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from typing import Any

import numpy as np
import torch

import fabloom
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.intervals import interval, resampled
from fabloom.plugins.blocks.metrics import Ratio, image_iou
from fabloom.plugins.judge.unet.networks import load
from fabloom.plugins.judge.unet.prediction import predict

SIZES = (50, 100, 500)
NOISE = 1.0
"""Deviation in grey levels of what is added to a flipped copy."""


def pipeline(size: int, train: int, steps: int, pool: int) -> fabloom.Pipeline:
    lines = {"size": size}
    return fabloom.Pipeline.model_validate(
        {
            "name": "test-set-size",
            "seed": 0,
            "steps": {
                "images": {"task": "line-pair.simulate", "params": {**lines, "count": train}},
                "pool": {"task": "line-pair.simulate", "params": {**lines, "count": pool}, "seed": 1000},
                "model": {"task": "unet.train", "inputs": {"images": "images"}, "params": {"steps": steps}},
            },
        }
    )


def flips(pixels: np.ndarray, masks: np.ndarray, many: int, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """`many` variations of images [K,1,H,W] in turn: mirrored either way, noise added."""
    rows, down, across = np.arange(many) % len(pixels), draw.integers(0, 2, many), draw.integers(0, 2, many)
    images = [
        pixels[r][:, :: 1 - 2 * d, :: 1 - 2 * a] + draw.normal(0, NOISE, pixels[r].shape)
        for r, d, a in zip(rows, down, across, strict=True)
    ]
    truth = [masks[r][:: 1 - 2 * d, :: 1 - 2 * a] for r, d, a in zip(rows, down, across, strict=True)]
    return np.rint(np.stack(images)).clip(0, 255).astype(np.uint8), np.stack(truth)


def ends(values: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """95 % interval of the mean of values [N], resampled by group."""
    samples = resampled({"iou": Ratio(values, np.ones(len(values)))}, groups, 500, torch.Generator().manual_seed(0))["iou"]
    found = interval(float(values.mean()), samples, 0.95)
    assert found.low is not None and found.high is not None
    return found.low, found.high


def table(title: str, drawn: dict[int, list[tuple[float, float]]], truth: float) -> None:
    """A row for each size."""
    for many, found in drawn.items():
        low, high = np.array(found).T
        largest = np.array(drawn[SIZES[-1]])
        agree = (low <= largest[:, 1]) & (largest[:, 0] <= high)
        holds = ((low <= truth) & (truth <= high)).mean()
        print(f"| {title} | {many} | ± {np.mean(high - low) / 2:.3f} | {holds:.0%} | {agree.mean():.0%} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--store")
    for name, default in (("size", 32), ("train", 100), ("steps", 150), ("pool", 2000), ("draws", 400)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    os.environ["FABLOOM_THREADS"] = "1"
    began = time.process_time()
    store = fabloom.open_store(given.store or tempfile.mkdtemp(prefix="fabloom-test-set-"))
    result = fabloom.run(pipeline(given.size, given.train, given.steps, given.pool), store=store, engine="inline", device="cpu")
    steps: dict[str, Any] = {step.name: store.get(step.key) for step in result.steps}
    pixels, masks = np.asarray(steps["pool"].images), np.asarray(steps["pool"].masks)
    model = steps["model"]
    grey, depth = GreyMap(*model.config["grey"]), model.config["depth"]
    (net,) = load(model, torch.device("cpu"))

    def scored(images: np.ndarray, truth: np.ndarray) -> np.ndarray:
        return image_iou(predict(net, images, grey, depth, torch.device("cpu"), threshold=0.5, batch=256), truth)

    values, draw = scored(pixels, masks), np.random.default_rng(0)
    truth, defect = float(values.mean()), masks.any((1, 2))
    own: dict[int, list[tuple[float, float]]] = {many: [] for many in SIZES}
    wrong: dict[int, list[tuple[float, float]]] = {many: [] for many in SIZES}
    for number in range(given.draws):
        for many in SIZES:
            own[many].append(ends(draw.choice(values, many, replace=False), np.arange(many)))
        if number < given.draws // 10:  # each of these is predicted anew
            two = np.array([draw.choice(np.flatnonzero(defect)), draw.choice(np.flatnonzero(~defect))])
            copies = scored(*flips(pixels[two], masks[two], SIZES[-1], draw))
            for many in SIZES:
                wrong[many].append(ends(copies[:many], np.arange(many)))
    print(f"IoU of all {len(values):,} images: {truth:.3f}; deviation over images {values.std():.3f}\n")
    print("| test images | how many | 95 % interval | holds the truth | agrees with 500 |\n|---|---|---|---|---|")
    table("of their own", own, truth)
    table("flips and noise of two, taken as so many", wrong, truth)
    print(f"\n{time.process_time() - began:.0f} CPU s")


if __name__ == "__main__":
    main()
