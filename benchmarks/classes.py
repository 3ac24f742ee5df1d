"""Several classes of defects: what telling them apart costs the finding of them, against one class and against cheap rules.

    python benchmarks/classes.py [holes|sram] [--count 240] [--steps 150] [--seed 3] [--size 64] [--arms ...] [--store STORE]

Simulated images with exact masks, half of them clean; a segmenter for each arm, all else alike; a test set of a quarter of the count
and of another seed:

* `one class`: `classes: one`, one logit;
* `classes`: as `unet.train` learns them;
* `Dice of each class`: the control, softmax cross-entropy and the mean Dice of the classes that a batch has, as is usual.

Two rules name what `one class` finds: `largest class` calls all of it what is most frequent in the training set; `nearest mean` takes
the class whose mean is nearest in area, height, width and grey difference to the median of the clean training images (least, mean,
largest), each in units of its deviation within classes.

IoU is that of any defect, the mean over test images with one (95 % over resampled images); found: defects that the prediction touches;
named: of all defects those that are found and of whose pixels in the prediction most have the right class.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import segmentation_models_pytorch as smp
import torch
from numpy.typing import NDArray
from scipy import ndimage

import fabloom
from fabloom.plugins.judge.unet import fitting

Masks = NDArray[np.uint8]
EIGHT = np.ones((3, 3), int)
STRUCTURES: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "holes": ("contact-hole.simulate", {"size": 64, "defects": ["missing", "bridged", "shrunk"]}),
    "sram": ("sram-cell.simulate", {"size": 48, "pitch_nm": 288.0}),
}


def each_dice(out: torch.Tensor, masks: torch.Tensor, dice_weight: float) -> torch.Tensor:
    """The control's loss of logits [B,1+K,H,W] and masks [B,H,W]."""
    classes = list(range(1, out.shape[1]))
    entropy = torch.nn.functional.cross_entropy(out, masks.long(), ignore_index=255)
    dice = smp.losses.DiceLoss("multiclass", classes=classes, ignore_index=255)(out, masks.long())
    return dice_weight * dice + (1 - dice_weight) * entropy


ARMS: Mapping[str, tuple[str, Callable[..., torch.Tensor]]] = {
    "one class": ("one", fitting.segmentation_loss),
    "Dice of each class": ("given", each_dice),
    "classes": ("given", fitting.segmentation_loss),
}
"""What `unet.train` is asked for, and with which loss."""


@dataclass(frozen=True)
class Sets:
    """Images [N,H,W] and exact masks [N,H,W] of training and test."""

    images: Masks
    masks: Masks
    test: Masks
    truth: Masks

    @property
    def usual(self) -> NDArray[np.float64]:
        """Median of the clean training images [H,W]."""
        middle: NDArray[np.float64] = np.median(self.images[~self.masks.any((1, 2))], axis=0)
        return middle


def pipeline(given: argparse.Namespace, classes: str) -> fabloom.Pipeline:
    task, params = STRUCTURES[given.structure]
    params = {**params, **({"size": given.size} if given.size else {})}
    steps = {
        "drawn": {"task": task, "params": {**params, "count": given.count}},
        "other": {"task": task, "params": {**params, "count": given.count // 4}, "seed": 1000 + given.seed},
        "images": {"task": "images.class_masks", "inputs": {"images": "drawn"}},
        "test": {"task": "images.class_masks", "inputs": {"images": "other"}},
        "model": {"task": "unet.train", "inputs": {"images": "images"}, "params": {"steps": given.steps, "classes": classes}},
        "found": {"task": "unet.segment", "inputs": {"images": "test", "model": "model"}},
    }
    return fabloom.Pipeline.model_validate({"name": "classes", "seed": given.seed, "steps": steps})


def predicted(given: argparse.Namespace, arm: str, folder: str) -> tuple[Sets, Masks, list[str], float]:
    """The sets, predicted masks, names of the classes and CPU seconds of an arm; each in a store of its own, as the loss is in no key."""
    classes, loss = ARMS[arm]
    store = fabloom.open_store(f"{folder}/{arm.replace(' ', '-')}")
    kept, fitting.segmentation_loss = fitting.segmentation_loss, loss if classes == "given" else fitting.segmentation_loss
    began = time.process_time()
    try:
        result = fabloom.run(pipeline(given, classes), store=store, engine="inline", device="cpu")
    finally:
        fitting.segmentation_loss = kept
    spent = time.process_time() - began
    if result.exit_code:
        raise SystemExit(f"{arm}: {[step.error for step in result.steps if step.error]}")
    made: dict[str, Any] = {step.name: store.get(step.key) for step in result.steps}
    images, test, found = made["images"], made["test"], made["found"]
    sets = Sets(*(np.asarray(part) for part in (images.images[:, 0], images.masks, test.images[:, 0], test.masks)))
    return sets, np.asarray(found.masks), test.mask_names, spent


def blobs(pixels: Masks, masks: Masks, usual: NDArray[np.float64]) -> list[tuple[int, NDArray[np.bool_], NDArray[np.float64]]]:
    """(image, pixels [H,W], features) of every region of masks [N,H,W]."""
    found = []
    for row, mask in enumerate(masks):
        parts, count = ndimage.label(mask > 0, EIGHT)
        for number, box in enumerate(ndimage.find_objects(parts), start=1):
            inside = parts == number
            height, width = (side.stop - side.start for side in box)
            change = (pixels[row] - usual)[inside]
            features = [np.log(inside.sum()), height, width, change.min(), change.mean(), change.max()]
            found.append((row, inside, np.array(features, np.float64)))
        assert count == parts.max()
    return found


def largest_class(sets: Sets, found: Masks) -> Masks:
    """All that is found as the class that most training images with a defect have."""
    counts = np.bincount(sets.masks.max((1, 2)))
    return np.where(found > 0, 1 + counts[1:].argmax(), 0).astype(np.uint8)


def nearest_mean(sets: Sets, found: Masks) -> Masks:
    """What is found as the class whose mean of features is nearest."""
    known = blobs(sets.images, sets.masks, sets.usual)
    kinds = np.array([sets.masks[row][inside].max() for row, inside, _ in known])
    features = np.stack([one for *_, one in known])
    values = np.unique(kinds)
    means = np.stack([features[kinds == value].mean(0) for value in values])
    within = np.sqrt(np.mean([features[kinds == value].var(0) for value in values], axis=0)) + 1e-9
    named = np.zeros_like(found)
    for row, inside, one in blobs(sets.test, found, sets.usual):
        named[row][inside] = values[np.square((means - one) / within).sum(1).argmin()]
    return named


RULES: Mapping[str, Callable[[Sets, Masks], Masks]] = {"largest class": largest_class, "nearest mean": nearest_mean}


def row(name: str, truth: Masks, found: Masks, spent: float, names: list[str], *, told: bool) -> str:
    """The line of a table; `told`: whether the prediction says classes."""
    with_defect = np.flatnonzero(truth.any((1, 2)))
    both, either = (((truth > 0) & (found > 0)).sum((1, 2)), ((truth > 0) | (found > 0)).sum((1, 2)))
    iou = (both / np.maximum(either, 1))[with_defect]
    draws = np.random.default_rng(0).integers(len(iou), size=(2000, len(iou)))
    low, high = np.quantile(iou[draws].mean(1), (0.025, 0.975))
    met = {value: [0, 0, 0] for value in range(1, len(names))}
    for image in with_defect:
        parts, count = ndimage.label(truth[image] > 0, EIGHT)
        for number in range(1, count + 1):
            value, seen = int(truth[image][parts == number].max()), found[image][parts == number]
            votes = np.bincount(seen[seen > 0], minlength=2)
            met[value] = [a + b for a, b in zip(met[value], (1, int(seen.any()), int(seen.any() and votes.argmax() == value)), strict=True)]
    every, hit, named = (sum(one[at] for one in met.values()) for at in range(3))
    each = ", ".join(f"{names[value]} {one[1]}{f'/{one[2]}' if told else ''} of {one[0]}" for value, one in met.items() if one[0])
    alarms = int((found[truth.reshape(len(truth), -1).max(1) == 0] > 0).any((1, 2)).sum())
    cells = (f"{iou.mean():.2f} [{low:.2f}, {high:.2f}]", f"{hit} of {every}", named if told else "", each, alarms, f"{spent:.0f}")
    return f"| {name} | {' | '.join(map(str, cells))} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("structure", nargs="?", choices=STRUCTURES, default="holes")
    parser.add_argument("--count", type=int, default=240)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--size", type=int, help="side in pixels, if not the structure's")
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--store", help="folder of the arms' stores, if they shall be kept")
    given = parser.parse_args()
    os.environ["FABLOOM_THREADS"] = "1"
    folder = given.store or tempfile.mkdtemp(prefix="fabloom-classes-")
    print(f"{given.structure}, {given.count} images, {given.steps} steps, seed {given.seed}")
    print("| arm | IoU | found | named | found/named by class | clean images with an alarm | CPU s |\n|---|---|---|---|---|---|---|")
    for arm in given.arms:
        sets, found, names, spent = predicted(given, arm, folder)
        print(row(arm, sets.truth, found, spent, names, told=arm != "one class"), flush=True)
        for rule in RULES if arm == "one class" else ():
            print(row(f"one class, {rule}", sets.truth, RULES[rule](sets, found), 0, names, told=True), flush=True)


if __name__ == "__main__":
    main()
