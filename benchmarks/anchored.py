"""Anchored to the clean image: does the structure stay, do defects move, and what do copies add whose defect lies elsewhere?

    FABLOOM_DATA_DIR=... python benchmarks/anchored.py board --store STORE [--seed 7] [--steps 600] [--width 64]
    python benchmarks/anchored.py holes --store STORE

`board` is a 96 x 96 cut of a template and test pair of DeepPCB around a spur; `holes` are simulated: pitch 16, one missing. Arms:
`reference` (the default with `anchor: reference`), `no copies` (the same without copies whose defect lies elsewhere), and the
controls `lattice` (holes) and `none`. A sample counts as

* shifted where a tile of 32 x 32, pixels that are labelled left out, fits the clean image better when it is moved by more than a
  pixel (up to 4), by more than half of what the clean image would if it were moved so;
* elsewhere by the share of the components of all labels that lie more than 10 pixels from all that is labelled in the training image;
* a copy where its label covers that of the training image with IoU > 0.5.

The measure is held against itself: the clean image moved by 2 pixels must be shifted, the training image must not.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

import fabloom
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import run_task

Pixels = NDArray[np.uint8]
BOARD, CORNER, SIDE = "00041000", (216, 300), 96
TILE, REACH, WORSE, NEAR = 32, 4, 0.5, 10
FLAT = 0.005
"""Share of the clean image's variance below which a tile shows nothing that could move."""
ARMS: Mapping[str, Mapping[str, Any]] = {
    "reference": {"anchor": "reference"},
    "no copies": {"anchor": "reference", "copies": 0},
    "lattice": {"anchor": "lattice"},
    "none": {"anchor": "none"},
}


def board(seed: int) -> tuple[Pixels, Pixels]:
    """(with a defect, clean), uint8 [H,W]: a cut of one board."""
    folder = Path(os.environ["FABLOOM_DATA_DIR"]) / "deeppcb"
    top, left = CORNER
    cut = slice(top, top + SIDE), slice(left, left + SIDE)
    test, template = (np.asarray(Image.open(folder / f"{BOARD}_{kind}.jpg").convert("L"))[cut] for kind in ("test", "temp"))
    return test, template


def holes(seed: int) -> tuple[Pixels, Pixels]:
    """(with a missing hole, clean), uint8 [H,W]: the first such image of contact-hole.simulate, and its own reference."""
    from fabloom.plugins.data.contact_hole.method import ContactHole

    params = {"count": 8, "size": SIDE, "defects": ["missing"], "references": True}
    with tempfile.TemporaryDirectory() as folder:
        made = run_task(LocalStore(Path(folder) / "store"), ContactHole, "simulate", params, seed=seed)
        row = int(np.flatnonzero(np.asarray(made.array("domain")))[0])
        return np.asarray(made.array("images"))[row, 0], np.asarray(made.array("references"))[row, 0]


CASES: Mapping[str, tuple[Callable[[int], tuple[Pixels, Pixels]], tuple[str, ...]]] = {
    "board": (board, ("reference", "no copies", "none")),
    "holes": (holes, ("reference", "no copies", "lattice", "none")),
}


def shifted(sample: Pixels, clean: Pixels, label: Pixels) -> bool:
    """Whether a tile of the sample [H,W] fits the clean image better when it is moved by more than a pixel."""
    soft, goal = (ndimage.gaussian_filter(image.astype(float), 1) for image in (sample, clean))
    use = ~ndimage.binary_dilation(label == 1, iterations=3)
    height, width = goal.shape
    moves = [(dy, dx) for dy in range(-REACH, REACH + 1) for dx in range(-REACH, REACH + 1)]
    for top in range(REACH, height - TILE - REACH + 1, TILE // 2):
        for left in range(REACH, width - TILE - REACH + 1, TILE // 2):
            weight = use[top : top + TILE, left : left + TILE]
            if weight.mean() < 0.75:
                continue
            goals = {(dy, dx): goal[top + dy : top + dy + TILE, left + dx : left + dx + TILE] for dy, dx in moves}
            errors = {
                move: float((np.square(soft[top : top + TILE, left : left + TILE] - moved) * weight).mean())
                for move, moved in goals.items()
            }
            still = [move for move in moves if max(map(abs, move)) <= 1]
            best = min(errors, key=errors.__getitem__)
            whole = min(float((np.square(goals[move] - goals[best]) * weight).mean()) for move in still)
            if whole > FLAT * goal.var() and min(errors[move] for move in still) - errors[best] > WORSE * whole:
                return True
    return False


@dataclass
class Score:
    """Of one arm."""

    shifted: float
    labelled: float
    components: float
    elsewhere: float
    copies: float
    seconds: float

    def row(self, name: str) -> str:
        shares = " | ".join(f"{share:.0%}" for share in (self.shifted, self.labelled, self.elsewhere, self.copies))
        return f"| {name} | {shares} | {self.components:.2f} | {self.seconds:.0f} |"


def centres(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Middle (row, column) of every component of a mask [H,W]."""
    parts, count = ndimage.label(mask, np.ones((3, 3)))
    return np.array(ndimage.center_of_mass(mask, parts, range(1, count + 1))).reshape(-1, 2)


def scored(samples: Pixels, masks: Pixels, clean: Pixels, truth: Pixels, seconds: float) -> Score:
    """Samples and label masks [N,H,W] against the clean image and the training image's label [H,W]."""
    homes = centres(truth == 1)
    found: list[tuple[bool, int, int, bool]] = []
    for image, mask in zip(samples, masks, strict=True):
        middles = centres(mask == 1)
        apart = np.hypot(*(middles[:, None] - homes[None]).transpose(2, 0, 1)).min(1, initial=np.inf)
        count, away = len(middles), int((apart > NEAR).sum())
        both, either = ((mask == 1) & (truth == 1)).sum(), ((mask == 1) | (truth == 1)).sum()
        found.append((shifted(image, clean, mask == 1), count, away, bool(either and both / either > 0.5)))
    moved, counts, away_, copies = (np.array(column) for column in zip(*found, strict=True))
    some = counts > 0
    share = float(away_.sum() / counts.sum()) if some.any() else float("nan")
    return Score(float(moved.mean()), float(some.mean()), float(counts.mean()), share, float(copies.mean()), seconds)


def pipeline(folder: Path, arm: Mapping[str, Any], given: argparse.Namespace) -> fabloom.Pipeline:
    label = {"task": "reference-difference.label", "inputs": {"reference": "images"}}
    training = {**arm, "steps": given.steps, "width": given.width}
    if arm["anchor"] == "reference":
        training |= {"defects": given.defects}
    steps = {
        "images": {"task": "images.load", "params": {"path": str(folder), "clean": ["clean*"], "defect": ["defect*"]}},
        "real": {**label, "inputs": {"images": "images", "reference": "images"}},
        "model": {
            "task": f"{given.method}.train",
            "inputs": {"images": "images"},
            "params": training,
        },
        "samples": {"task": f"{given.method}.sample", "inputs": {"model": "model"}, "params": {"count": given.count}},
        # a control may be off everywhere, and is to be counted all the same
        "labelled": {**label, "inputs": {"images": "samples", "reference": "images"}, "params": {"max_off_share": 1.0}},
    }
    return fabloom.Pipeline.model_validate({"name": "anchored", "seed": given.seed, "steps": steps})


def sheet(path: Path, rows: Mapping[str, tuple[Pixels, Pixels]], first: tuple[Pixels, Pixels]) -> None:
    """Training image, clean image and samples of every arm, labels outlined in red."""
    strips = []
    for samples, masks in rows.values():
        cells = [*((image, np.zeros_like(image)) for image in first), *zip(samples[:14], masks[:14], strict=True)]
        drawn = []
        for image, mask in cells:
            colour = np.repeat(image[..., None], 3, 2)
            colour[ndimage.binary_dilation(mask == 1, iterations=2) & ~ndimage.binary_dilation(mask == 1)] = (255, 40, 40)
            drawn.append(np.pad(colour, ((1, 1), (1, 1), (0, 0)), constant_values=255))
        strips.append(np.vstack([np.hstack(drawn[:8]), np.hstack(drawn[8:16])]))
    Image.fromarray(np.vstack(strips)).resize((strips[0].shape[1] * 2, 2 * sum(len(s) for s in strips)), Image.Resampling.NEAREST).save(
        path
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("--store", required=True)
    parser.add_argument("--method", default="sinsemi", choices=["sinsemi", "sinddm"])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--defects", type=float, default=2, help="on each copy; more for a short training")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--arms", nargs="*", choices=ARMS)
    parser.add_argument("--sheet", type=Path, help="PNG of samples")
    given = parser.parse_args()
    make, arms = CASES[given.case]
    test, clean = make(given.seed)
    store, rows = fabloom.open_store(given.store), {}
    budget = f"{given.steps} steps of width {given.width}, {given.defects:g} defects a copy"
    print(f"{given.case}, {given.method}, {budget}, {given.count} samples, seed {given.seed}")
    print("| arm | shifted | labelled | components elsewhere | copies | components | CPU s |\n|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        Image.fromarray(test).save(folder / "defect.png")
        Image.fromarray(clean).save(folder / "clean.png")
        for name in given.arms or arms:
            began = time.process_time()
            result = fabloom.run(pipeline(folder, ARMS[name], given), store=store, engine="inline", device="cpu")
            if result.exit_code:
                raise SystemExit(f"{name}: {[step.error for step in result.steps if step.error]}")
            spent = time.process_time() - began
            key = {step.name: step.key for step in result.steps}
            labelled, real = store.get(key["labelled"]), store.get(key["real"])
            samples, masks = np.asarray(labelled.images)[:, 0], np.asarray(labelled.masks)
            row = int(np.flatnonzero(np.asarray(store.get(key["images"]).domain) == 1)[0])
            truth = np.asarray(real.masks)[row]
            rows[name] = samples, masks
            print(scored(samples, masks, clean, truth, spent).row(name), flush=True)
            if len(rows) == 1:
                controls = (np.roll(clean, 2, 1), np.roll(clean, 2, 0), test)
                seen = [shifted(image, clean, label) for image, label in zip(controls, (0 * truth, 0 * truth, truth), strict=True)]
                print(f"controls: clean image moved by 2 columns, 2 rows; training image: {seen}", flush=True)
    if given.sheet:
        sheet(given.sheet, rows, (test, clean))


if __name__ == "__main__":
    main()
