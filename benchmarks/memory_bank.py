"""Defects found from clean images alone, beside a U-Net that learned from n images with a defect, and the cheapest rivals.

    python benchmarks/memory_bank.py [--only lines anywhere boards] [--store STORE] [--seeds 1] [--sizes 1 5 20] [--steps 150]
        [--trunks filters squeeze] [--weak 1500]

`lines`: line-pair.simulate, 32 x 32; test defects are larger or smaller than those of the training, of another seed. `anywhere`: the
same, the lines of no two images alike. `boards`: crops of 64 x 64 (two pixels in one) of DeepPCB ($FABLOOM_DATA_DIR/deeppcb), boards
of group 12000 to learn from and of group 00041 to test; masks are what differs from the registered template inside the boxes. A U-Net gets
n images with a defect and n clean ones, flips and grey changes; the bank gets clean ones alone. `--weak` adds icddm, which is told of
crops of the boards whether they have a defect and nothing else: eight around each defect and as many without, mirrored and turned. A table
for each case: score-maps.evaluate says what its columns mean. The truth of simulated lines is where they differ from the same image without
the defect, so that on registered ones the difference to the nearest clean image is all but the truth itself.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

import fabloom
from fabloom import ImageSet

Pixels = NDArray[np.uint8]
SIDE = 128
"""Pixels of a board's crop, before every two are averaged."""


def lines(options: argparse.Namespace, seed: int, *, anywhere: bool = False) -> tuple[dict[str, Any], dict[str, ImageSet]]:
    """Steps that make images and test, and no sets from outside."""
    shared, sizes = {"size": 32, "random_phase": anywhere}, {"defect_low": 0.4, "defect_high": 0.7}
    test = {**shared, "count": 200, "defect_low": 0.3, "defect_high": 1.0}
    steps = {
        "images": {"task": "line-pair.simulate", "params": {**shared, **sizes, "count": 2 * options.clean}},
        "test": {"task": "line-pair.simulate", "params": test, "seed": 1000 + seed},
    }
    return steps, {}


def anywhere(options: argparse.Namespace, seed: int) -> tuple[dict[str, Any], dict[str, ImageSet]]:
    """The same, the lines of each image somewhere else: a difference to another image shows lines."""
    return lines(options, seed, anywhere=True)


def board(stem: str) -> tuple[Pixels, Pixels, list[tuple[int, int, int, int]]]:
    """Template, tested image, boxes (top, left, bottom, right)."""
    folder = Path(os.environ["FABLOOM_DATA_DIR"]) / "deeppcb"
    template, tested = (np.asarray(Image.open(folder / f"{stem}_{kind}.jpg").convert("L")) for kind in ("temp", "test"))
    rows = (list(map(int, line.split()))[:4] for line in (folder / f"{stem}.txt").read_text().splitlines())
    return template, tested, [(top, left, bottom, right) for left, top, right, bottom in rows]


def crops(stem: str, draw: np.random.Generator, most: int, shifts: int = 0) -> Iterator[tuple[Pixels, Pixels, Pixels]]:
    """(image, template, mask) around up to `most` defects of a board, or so many times beside each, and of as many places without one."""
    template, tested, boxes = board(stem)
    level = tested.astype(np.int16)
    above, below = level - ndimage.maximum_filter(template, 5), ndimage.minimum_filter(template, 5) - level
    inside = np.zeros(tested.shape, bool)
    for top, left, bottom, right in boxes:
        inside[top:bottom, left:right] = True
    mask = ndimage.binary_dilation(ndimage.binary_opening((np.maximum(above, below) > 60) & inside), iterations=2) & inside
    middles = [np.array([(b[0] + b[2]) // 2, (b[1] + b[3]) // 2]) for b in boxes[:most]]
    if shifts:
        middles = [middle + draw.integers(-SIDE // 4, SIDE // 4, 2) for middle in middles for _ in range(shifts)]
    corners, wanted = [np.clip(middle - SIDE // 2, 0, 640 - SIDE) for middle in middles], 2 * len(middles)
    for _ in range(40 * wanted):
        at = draw.integers(0, 640 - SIDE, 2)
        near = inside[at[0] : at[0] + SIDE, at[1] : at[1] + SIDE].any()
        if not near and np.ptp(template[at[0] : at[0] + SIDE, at[1] : at[1] + SIDE]) > 60:
            corners.append(at)
        if len(corners) == wanted:
            break
    for top, left in corners:
        cut = slice(top, top + SIDE), slice(left, left + SIDE)
        halves = [np.rint(one[cut].reshape(SIDE // 2, 2, SIDE // 2, 2).mean((1, 3))).astype(np.uint8) for one in (tested, template)]
        yield halves[0], halves[1], mask[cut].reshape(SIDE // 2, 2, SIDE // 2, 2).max((1, 3)).astype(np.uint8)


def group(prefix: str, most: int, seed: int) -> ImageSet:
    """All boards of a group as one set, a source a board, images with a defect and clean ones by turns."""
    stems = sorted(path.stem for path in (Path(os.environ["FABLOOM_DATA_DIR"]) / "deeppcb").glob(f"{prefix}*.txt"))
    found = [(stem, *one) for stem in stems for one in crops(stem, np.random.default_rng([seed, int(stem)]), most)]
    order = np.random.default_rng(seed).permutation(len(found))
    names, images, references, masks = zip(*(found[row] for row in order), strict=True)
    return ImageSet.from_arrays(np.stack(images), masks=np.stack(masks), references=np.stack(references), names=names)


def told(prefix: str, seed: int) -> ImageSet:
    """Crops of all boards of a group, mirrored and turned, of which nothing is told but which have a defect."""
    stems = sorted(path.stem for path in (Path(os.environ["FABLOOM_DATA_DIR"]) / "deeppcb").glob(f"{prefix}*.txt"))
    draw = np.random.default_rng(seed)
    found = [one for stem in stems for one in crops(stem, draw, 99, 8)]
    images = np.stack([np.rot90(image, draw.integers(4))[:, :: draw.choice([-1, 1])] for image, _, _ in found])
    return ImageSet.from_arrays(images, domain=[int(mask.any()) for _, _, mask in found])


def boards(options: argparse.Namespace, seed: int) -> tuple[dict[str, Any], dict[str, ImageSet]]:
    """No steps, two sets."""
    steps = {name: {"task": "images.load", "params": {"path": "."}} for name in ("images", "test")}
    sets = {"images": group("12000", 6, seed), "test": group("00041", 4, 1)}
    if options.weak:
        steps["told"] = steps["images"]
        sets["told"] = told("12000", seed)
    return steps, sets


CASES = {"lines": lines, "anywhere": anywhere, "boards": boards}


def pipeline(case: str, options: argparse.Namespace, seed: int) -> tuple[dict[str, Any], dict[str, ImageSet]]:
    """The whole comparison, and sets that stand in for steps."""
    steps, inputs = CASES[case](options, seed)
    entries = {}
    for trunk in options.trunks:
        params = {"trunk": trunk, **({} if trunk == "filters" or options.zoom is None else {"zoom": options.zoom})}
        steps[f"bank_{trunk}"] = {"task": "memory-bank.fit", "inputs": {"images": "images"}, "params": params}
        entries[f"memory-bank, {trunk}"] = f"by_{trunk}"
        steps[f"by_{trunk}"] = {"task": "memory-bank.segment", "inputs": {"images": "test", "model": f"bank_{trunk}"}}
    for size in options.sizes:
        params = {"limit": 2 * size, "steps": options.steps, "accept_clean": True, "classes": "one"}
        steps[f"net_{size}"] = {"task": "unet.train", "inputs": {"images": "images"}, "params": params}
        steps[f"by_net_{size}"] = {"task": "unet.segment", "inputs": {"images": "test", "model": f"net_{size}"}}
        entries[f"unet, n = {size}"] = f"by_net_{size}"
    steps["nearest"] = {"task": "score-maps.difference", "inputs": {"images": "test", "clean": "images"}}
    entries["difference, nearest clean"] = "nearest"
    if case == "boards":
        steps["template"] = {"task": "score-maps.difference", "inputs": {"images": "test"}}
        entries["difference, own template"] = "template"
    if "told" in inputs:
        steps["cross"] = {"task": "icddm.train", "inputs": {"images": "told"}, "params": {"steps": options.weak}}
        steps["by_cross"] = {"task": "icddm.detect", "inputs": {"images": "test", "model": "cross"}}
        entries["icddm, labels of images alone"] = "by_cross"
    steps["judged"] = {
        "task": "score-maps.evaluate",
        "inputs": {"images": "test", "maps": list(entries.values())},
        "params": {"entries": list(entries)},
    }
    return {"name": f"clean-only-{case}", "seed": seed, "steps": steps}, inputs


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="*", choices=CASES, default=list(CASES))
    parser.add_argument("--store")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--clean", type=int, default=50, help="clean images of the lines")
    parser.add_argument("--sizes", nargs="*", type=int, default=[1, 5, 20])
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--trunks", nargs="*", default=["filters", "squeeze"])
    parser.add_argument("--weak", type=int, help="steps of icddm on boards; by default it is left out")
    parser.add_argument("--zoom", type=int, help="of networks; by default their own")
    options = parser.parse_args()
    os.environ["FABLOOM_THREADS"] = "1"
    store = fabloom.open_store(options.store or tempfile.mkdtemp(prefix="fabloom-clean-"))
    for case in options.only:
        for seed in range(options.seeds):
            began = time.process_time()
            wanted, inputs = pipeline(case, options, seed)
            result = fabloom.run(wanted, store=store, engine="inline", device="cpu", inputs=inputs)
            report = result["judged"]
            print(f"\n{case}, seed {seed}: {report.verdict} {time.process_time() - began:.0f} CPU s")
            for title, table in report.tables.items():
                print(f"\n{title}\n| {' | '.join(table.columns)} |\n|{'---|' * len(table.columns)}")
                for row in table.rows:
                    print(f"| {' | '.join('' if cell is None else str(cell) for cell in row)} |")
            for note in report.notes[:1]:
                print(f"\n{note}", flush=True)


if __name__ == "__main__":
    main()
