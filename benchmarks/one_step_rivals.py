"""One step by consistency and by mean-flow, beside many steps of the diffusion model: defects, sharpness, distance to real images.

    python benchmarks/one_step_rivals.py STORE [--set steps.flow.params.steps=2000]

Runs docs/methods/pictures/one-step-from-images.yaml, whose trainings are cut short, with 50 steps and one of DDIM of its diffusion
model beside them, and holds every set against 256 images of another seed: the share with a defect by difference to the clean training
images, among those of which that can be told; power in three thirds of the spatial frequencies over that of real images; and the sliced
Wasserstein distance of patches of 5 px, in grey levels. The training images stand in the table as what cannot be beaten.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

import fabloom
from fabloom.kinds import ImageSet
from fabloom.kinds.masks import UNKNOWN, is_defect

PIPELINE = Path(__file__).parents[1] / "docs/methods/pictures/one-step-from-images.yaml"
SETS = ("images", "ddim", "ddim_1", "taught", "taught_4", "untaught", "one", "few")
OFF = {"max_off_share": 1.0}
"""A bad generator's images show other structure than the clean ones; they are to be counted and not refused."""
SIDE, DIRECTIONS = 5, 64
"""Of a patch in pixels, and how many directions its values are looked at from."""
Grey = NDArray[np.float64]


def pipeline() -> dict[str, Any]:
    """That of the pictures, with held-out images, further samples and labels."""
    made: dict[str, Any] = yaml.safe_load(PIPELINE.read_text())
    steps = made["steps"]
    real = {"task": "line-pair.simulate", "params": steps["images"]["params"] | {"count": 256}, "seed": 99}
    drawn = {"count": 256, "scheduler": "ddim"}
    steps |= {
        "real": real,
        "ddim": {"task": "ddpm.sample", "inputs": {"model": "base"}, "params": drawn | {"steps": 50}},
        "ddim_1": {"task": "ddpm.sample", "inputs": {"model": "base"}, "params": drawn | {"steps": 1}},
        "taught_4": {"task": "consistency.sample", "inputs": {"model": "distilled"}, "params": {"count": 256, "steps": 4}},
    }
    for name in SETS:
        steps[f"{name}_labelled"] = {"task": "reference-difference.label", "inputs": {"images": name, "reference": "images"}, "params": OFF}
    return made


def grey(images: ImageSet) -> Grey:
    """The first channel [N,H,W]."""
    pixels: Grey = np.asarray(images.images[...], np.float64)[:, 0]
    return pixels


def power(images: ImageSet) -> Grey:
    """Mean power in three thirds of the spatial frequencies, 0 left out."""
    pixels = grey(images)
    found = np.abs(np.fft.fft2(pixels)) ** 2
    frequency = np.hypot(*np.meshgrid(*(np.fft.fftfreq(side) for side in pixels.shape[:0:-1])))
    bands = ((1e-9, 1 / 6), (1 / 6, 1 / 3), (1 / 3, 1.0))
    return np.array([found[:, (frequency >= low) & (frequency < high)].mean() for low, high in bands])


def apart(a: ImageSet, b: ImageSet) -> float:
    """Root mean square difference of the quantiles of patches, seen from many directions."""
    draw = np.random.default_rng(0)
    views = draw.normal(size=(SIDE**2, DIRECTIONS))
    views /= np.linalg.norm(views, axis=0)
    steps = np.linspace(0.005, 0.995, 199)
    ends = []
    for images in (a, b):
        cut = np.lib.stride_tricks.sliding_window_view(grey(images), (SIDE, SIDE), (1, 2))[:, ::3, ::3]
        ends.append(np.quantile(cut.reshape(-1, SIDE**2) @ views, steps, axis=0))
    return float(np.sqrt(((ends[0] - ends[1]) ** 2).mean()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    parser.add_argument("--set", action="append", default=[], help="as of fabloom run")
    given = parser.parse_args()
    result = fabloom.run(pipeline(), store=fabloom.open_store(given.store), set=given.set, engine="inline", device="cpu")
    real = result["real"]
    print("| images | with a defect | told of | power, low, middle, high frequencies | sliced Wasserstein |\n|---|---|---|---|---|")
    for name in SETS:
        masks = np.asarray(result[f"{name}_labelled"].masks[...])
        drawn = is_defect(masks).any((1, 2))
        told = drawn | ~(masks == UNKNOWN).any((1, 2))
        bands = ", ".join(f"{ratio:.2f}" for ratio in power(result[name]) / power(real))
        share = f"{drawn[told].mean():.2f}" if told.any() else "none can be told"
        print(f"| {name} | {share} | {told.mean():.2f} | {bands} | {apart(result[name], real):.2f} |", flush=True)


if __name__ == "__main__":
    main()
