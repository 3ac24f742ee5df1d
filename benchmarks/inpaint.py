"""Several classes from five examples each: a segmenter of in-painted defects beside the rivals and the controls.

    python benchmarks/inpaint.py [contact-hole|sram-cell] [--examples 5] [--seeds 1] [--steps 2000]
        [--segmenter-steps 300] [--store STORE]

Simulated images with exact masks of three classes: so many examples of each, eight clean ones; test images of another seed, with defects
of further sizes, half of them clean. The same U-Net with the same steps learns from the images of each recipe:

* `augmented`: the real ones, flipped and with noise;
* `copy-paste`: their residuals moved along the structure;
* `inpaint`; `inpaint, fade 3`, whose defects fade out over three pixels around their masks; `augmented + inpaint`, half and half;
* `untrained`: the control, inpaint with the random weights of its network, whose masks are as exact; what does not show is kept.

IoU is that of any defect, the mean over test images with one; found: defects that the prediction touches; named: those of them in whose
prediction most pixels have the right class; alarms: clean images with a prediction of 4 pixels or more. Interrupted with a --store, the
same command goes on where it was. --pictures FOLDER writes twelve samples of each recipe.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from skimage.segmentation import find_boundaries

import fabloom
from fabloom.kinds import ImageSet
from fabloom.plugins.blocks.sheets import stretched, tiled

Masks = NDArray[np.uint8]
EIGHT = np.ones((3, 3), int)
CLEAN, LEAST = 8, 4
HOLES = ("missing", "bridged", "shrunk")
STRUCTURES: Mapping[str, tuple[dict[str, Any], tuple[float, float], tuple[float, float]]] = {
    "contact-hole": ({"size": 48, "defects": list(HOLES)}, (0.4, 0.7), (0.3, 0.9)),
    "sram-cell": ({"size": 48, "pitch_nm": 288.0}, (0.4, 0.8), (0.3, 1.0)),
}
"""What is simulated, with which sizes of defects in training and in test."""
RECIPES = ("augmented", "copy-paste", "inpaint", "inpaint, fade 3", "augmented + inpaint", "untrained")
SCORES = ("iou", "found", "named", "alarms")


def simulated(given: argparse.Namespace, seed: int) -> dict[str, Any]:
    """Steps that simulate a pool of images to choose from, and the test images."""
    task = f"{given.structure}.simulate"
    params, train, test = STRUCTURES[given.structure]
    sizes = [{"defect_low": low, "defect_high": high} for low, high in (train, test)]
    many = 24 * given.examples
    return {
        "drawn": {"task": task, "params": {**params, **sizes[0], "count": many}, "seed": seed},
        "pool": {"task": "images.class_masks", "inputs": {"images": "drawn"}},
        "other": {"task": task, "params": {**params, **sizes[1], "count": given.test}, "seed": 1000 + seed},
        "test": {"task": "images.class_masks", "inputs": {"images": "other"}},
    }


def chosen(pool: ImageSet, examples: int) -> ImageSet:
    """The first examples of each of three classes, and the first clean images."""
    assert pool.labels is not None and pool.masks is not None
    labels = pool.labels[...]
    classes = [label for label in np.unique(labels) if label and (labels == label).sum() >= examples][:3]
    rows = np.concatenate([np.flatnonzero(labels == 0)[:CLEAN], *(np.flatnonzero(labels == label)[:examples] for label in classes)])
    names = [f"{pool.class_names[labels[row]]}-{row}" for row in rows]
    return ImageSet.from_arrays(
        pool.images[...][rows], masks=pool.masks[...][rows], labels=labels[rows], class_names=pool.class_names, names=names
    )


def compared(given: argparse.Namespace, seed: int, real: ImageSet, test: ImageSet) -> dict[str, Any]:
    """Steps from the real images to a segmenter of every recipe, and what it finds."""
    shape = {"width": given.width, "batch": given.batch}
    count, painted = {"count": given.count}, {"task": "inpaint.sample", "inputs": {"model": "painter"}}
    steps: dict[str, Any] = {
        "painter": {"task": "inpaint.train", "inputs": {"images": real}, "params": {**shape, "steps": given.steps}},
        "random": {"task": "inpaint.train", "inputs": {"images": real}, "params": {**shape, "steps": 0}},
        "cut": {"task": "copy-paste.train", "inputs": {"images": real}},
        "augmented": {
            "task": "images.augment",
            "inputs": {"images": real},
            "params": {**count, "flip_x": True, "flip_y": True, "noise": 1.0},
        },
        "copy-paste": {"task": "copy-paste.sample", "inputs": {"model": "cut"}, "params": count},
        "inpaint": {**painted, "params": count},
        "inpaint_fade_3": {**painted, "params": {**count, "fade": 3}},
        "augmented_inpaint": {"task": "images.join", "inputs": {"images": ["augmented", "inpaint"]}},
        "untrained": {"task": "inpaint.sample", "inputs": {"model": "random"}, "params": {**count, "shown": 0, "tighten": False}},
    }
    for recipe in RECIPES:
        name = step_of(recipe)
        training = {"steps": given.segmenter_steps, "batch": 16, "accept_clean": True}
        steps[f"{name}_segmenter"] = {"task": "unet.train", "inputs": {"images": name}, "params": training}
        steps[f"{name}_found"] = {"task": "unet.segment", "inputs": {"images": test, "model": f"{name}_segmenter"}}
    return {name: {**step, "seed": seed} for name, step in steps.items()}


def step_of(recipe: str) -> str:
    """The step that makes its images."""
    return recipe.replace(", ", "_").replace(" + ", "_").replace(" ", "_")


def scores(truth: Masks, found: Masks) -> dict[str, float]:
    """Of masks [N,H,W] of classes."""
    spoilt = (truth > 0).any((1, 2))
    both, either = ((truth > 0) & (found > 0)).sum((1, 2)), ((truth > 0) | (found > 0)).sum((1, 2))
    hits: list[bool] = []
    named: list[bool] = []
    for real, guess in zip(truth[spoilt], found[spoilt], strict=True):
        parts, _ = ndimage.label(real > 0, EIGHT)
        for index in range(1, parts.max() + 1):
            inside = guess[(parts == index) & (guess > 0)]
            hits.append(bool(len(inside)))
            if len(inside):
                named.append(int(np.bincount(inside).argmax()) == int(real[parts == index][0]))
    alarms = [bool((np.bincount(ndimage.label(guess > 0, EIGHT)[0].ravel())[1:] >= LEAST).any()) for guess in found[~spoilt]]
    iou = float((both / np.maximum(either, 1))[spoilt].mean())
    return {"iou": iou, "found": float(np.mean(hits)), "named": float(np.mean(named)) if named else 0.0, "alarms": float(np.mean(alarms))}


def drawn(samples: ImageSet, path: Path) -> None:
    """Twelve samples, and the same with the outlines of their masks."""
    assert samples.masks is not None
    pixels, masks = samples.images[:12], samples.masks[:12]
    bare = stretched(pixels, float(pixels.min()), float(pixels.max())).repeat(2, 1).repeat(2, 2)
    marked = bare.copy()
    marked[np.stack([find_boundaries(mask.repeat(2, 0).repeat(2, 1), mode="outer") for mask in masks])] = (235, 80, 60)
    rows = [tiles[start : start + 6] for start in (0, 6) for tiles in (bare, marked)]
    Image.fromarray(tiled(rows, 6)).save(path)


def run(store: Any, steps: dict[str, Any], seed: int) -> Any:
    """All steps; ends where one fails."""
    wanted = {"name": "inpaint-benchmark", "seed": seed, "steps": steps}
    return fabloom.run(wanted, store=store, device="cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("structure", nargs="?", choices=list(STRUCTURES), default="contact-hole")
    parser.add_argument("--examples", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--steps", type=int, default=2000, help="of inpaint.train")
    parser.add_argument("--width", type=int, default=32, help="of inpaint's network")
    parser.add_argument("--batch", type=int, default=16, help="windows a step of inpaint.train")
    parser.add_argument("--segmenter-steps", type=int, default=300)
    parser.add_argument("--count", type=int, default=200, help="images of each recipe")
    parser.add_argument("--test", type=int, default=200)
    parser.add_argument("--store")
    parser.add_argument("--pictures", type=Path)
    given = parser.parse_args()
    os.environ.setdefault("FABLOOM_THREADS", "1")
    store = fabloom.open_store(given.store or tempfile.mkdtemp(prefix="fabloom-inpaint-"))
    told: dict[str, list[dict[str, float]]] = {recipe: [] for recipe in RECIPES}
    for seed in range(given.seeds):
        began = time.process_time()
        sets = run(store, simulated(given, seed), seed)
        test = sets["test"]
        made = run(store, compared(given, seed, chosen(sets["pool"], given.examples), test), seed)
        for recipe in RECIPES:
            told[recipe].append(scores(test.masks[...], made[f"{step_of(recipe)}_found"].masks[...]))
            print(f"seed {seed}, {recipe}: {', '.join(f'{name} {told[recipe][-1][name]:.3f}' for name in SCORES)}", flush=True)
            if given.pictures:
                given.pictures.mkdir(parents=True, exist_ok=True)
                drawn(made[step_of(recipe)], given.pictures / f"{step_of(recipe)}_{seed}.png")
        counted = {name: made["inpaint"].attrs[name] for name in ("defects_asked", "defects_left_out", "mask_pixels", "mask_pixels_unseen")}
        print(f"seed {seed}: {counted}; {time.process_time() - began:.0f} CPU s", flush=True)
    print(f"\n| recipe | {' | '.join(SCORES)} |\n|---|{'---|' * len(SCORES)}")
    for recipe, found in told.items():
        cells = [[one[name] for one in found] for name in SCORES]
        print(f"| {recipe} | {' | '.join(f'{statistics.mean(v):.3f} ({min(v):.3f}..{max(v):.3f})' for v in cells)} |")


if __name__ == "__main__":
    main()
