"""`fabloom init` and `fabloom run` on folders as engineers have them: what was found, whether the labels are right, and the report.

    python benchmarks/own_images.py OUT [--only holes boards tiles wafers] [--steps N] [--set ...]

Folders are drawn by code that shares nothing with what reads them, except `boards`, which are cut from DeepPCB pairs
($FABLOOM_DATA_DIR/deeppcb). Truth stays outside the folder unless the case is one of own masks. Agreement is the share of images
of which label and truth agree on whether there is a defect.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

import fabloom

Truth = dict[str, NDArray[np.bool_]]
"""Mask [H,W] by the name of the image in its folder."""


def save(path: Path, pixels: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8)).save(path)


def holes(folder: Path, count: int = 40) -> Truth:
    """Contact holes of 16 px pitch in clean/ and defect/: missing and bridged ones; noise of 3 grey levels."""
    truth: Truth = {}
    for row in range(count):
        draw = np.random.default_rng([1, row])
        ground = [np.zeros((96, 96)) for _ in range(2)]
        y, x = np.mgrid[:96, :96]
        defect = row % 2 == 1
        kind, spot = row // 2 % 2, draw.integers(1, 5, 2)
        for i in range(6):
            for j in range(6):
                radius = 4.5 + draw.normal(0, 0.08)
                disc = np.hypot(y - 8 - 16 * i, x - 8 - 16 * j) < radius
                for number, picture in enumerate(ground):
                    if not (defect and number and kind == 0 and (i, j) == tuple(spot)):
                        picture[disc] = 1
        if defect and kind == 1:
            top, left = 8 + 16 * spot
            ground[1][top - 2 : top + 3, left : left + 16] = 1
        name = f"{'defect' if defect else 'clean'}/hole_{row:03}.png"
        truth[name] = ground[0] != ground[1]
        save(folder / name, 190 - 110 * ndimage.gaussian_filter(ground[1], 1.2) + draw.normal(0, 3, (96, 96)))
    return truth


def boards(folder: Path, count: int = 40) -> Truth:
    """512 px crops of template and test pairs of real circuit boards; the truth is boxes."""
    data = Path(os.environ.get("FABLOOM_DATA_DIR", "shared/data")) / "deeppcb"
    truth: Truth = {}
    for file in sorted(data.glob("*0*.txt"))[:count]:
        boxes = np.zeros((640, 640), bool)
        for line in file.read_text().splitlines():
            left, top, right, bottom, _ = map(int, line.split())
            boxes[top:bottom, left:right] = True
        for kind in ("temp", "test"):
            crop = np.asarray(Image.open(data / f"{file.stem}_{kind}.jpg").convert("L"))[64:576, 64:576]
            save(folder / f"{file.stem}_{kind}.png", crop)
        truth[f"{file.stem}_test.png"] = boxes[64:576, 64:576]
    return truth


def tiles(folder: Path, count: int = 48) -> Truth:
    """Ground surfaces as of magnetic tiles, 160 px, lit from one side: blowholes and cracks, with masks of one's own."""
    truth: Truth = {}
    for row in range(count):
        draw = np.random.default_rng([2, row])
        lines = ndimage.gaussian_filter(draw.normal(0, 1, (160, 160)), (0.6, 12)) * 60
        light = np.linspace(-18, 22, 160)[None] + ndimage.gaussian_filter(draw.normal(0, 1, (160, 160)), 25) * 250
        picture = 120 + lines + light + draw.normal(0, 3, (160, 160))
        mask = np.zeros((160, 160), bool)
        if row % 2:
            y, x = draw.integers(24, 136, 2)
            if row % 4 == 1:
                rows, columns = np.mgrid[:160, :160]
                mask = np.hypot((rows - y) / draw.uniform(3, 6), (columns - x) / draw.uniform(3, 6)) < 1
            else:
                way = np.cumsum(draw.normal(0, 0.8, 44)) + y
                for step, at in enumerate(way):
                    mask[int(np.clip(at, 1, 157)) : int(np.clip(at, 1, 157)) + 3, min(x - 22 + step, 159)] = True
            picture = picture - 70 * ndimage.gaussian_filter(mask.astype(float), 0.8)
        name = f"surface_{row:03}.png"
        save(folder / name, picture)
        save(folder / "masks" / name, mask * 255.0)
        truth[name] = mask
    return truth


def wafers(folder: Path, count: int = 60) -> Truth:
    """Wafer maps as RGB pictures of 3 px a die: green passes, red fails; random fails are clean, clusters and edge rings are not."""
    truth: Truth = {}
    side = 36
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    inside = np.hypot(y, x) < side / 2 - 0.5
    for row in range(count):
        draw = np.random.default_rng([3, row])
        fails = (draw.random((side, side)) < 0.01) & inside
        pattern = np.zeros((side, side), bool)
        if row % 2:
            if row % 4 == 1:
                centre = draw.uniform(-9, 9, 2)
                pattern = np.hypot(y - centre[0], x - centre[1]) < draw.uniform(3, 5)
            else:
                turn, start = np.arctan2(y, x), draw.uniform(-np.pi, np.pi)
                pattern = (np.hypot(y, x) > side / 2 - 4) & (np.cos(turn - start) > np.cos(draw.uniform(0.5, 1)))
            pattern &= inside & (draw.random((side, side)) < 0.95)
        colours = np.zeros((side, side, 3))
        colours[inside] = (110, 200, 120)
        colours[fails | pattern] = (150, 20, 30)
        name = f"{'defect' if row % 2 else 'clean'}/wafer_{row:03}.png"
        save(folder / name, colours.repeat(3, 0).repeat(3, 1))
        truth[name] = pattern.repeat(3, 0).repeat(3, 1)
    return truth


def lines(folder: Path, count: int = 40) -> Truth:
    """Vertical lines of 19 px pitch with rough edges, 96 px, named ok_* and ng_*: bridges of two to six pixels."""
    truth: Truth = {}
    for row in range(count):
        draw = np.random.default_rng([4, row])
        rough = ndimage.gaussian_filter1d(draw.normal(0, 1, (12, 96)), 6) * 1.5
        y, x = np.mgrid[:96, :96]
        edge = (x + 5) % 19 - 4.5
        ground = (np.abs(edge) < 4.5 + rough[(x + 5) // 19 % 12, y] * 0.5).astype(float)
        mask = np.zeros((96, 96), bool)
        if row % 2:
            top, left, tall = int(draw.integers(8, 80)), int(19 * draw.integers(1, 4) + 2), int(draw.integers(3, 7))
            mask[top : top + tall, left : left + 15] = True
            mask &= ground == 0
        name = f"{'ng' if row % 2 else 'ok'}_{row:03}.tif"
        truth[name] = mask
        save(folder / name, 90 + 80 * ndimage.gaussian_filter(np.maximum(ground, mask), 1.2) + draw.normal(0, 4, (96, 96)))
    return truth


def frames(folder: Path, count: int = 10) -> Truth:
    """Frames as of an electron microscope, 1024 px and a data bar of 64 rows: particles on an array of vias, masks of one's own."""
    truth: Truth = {}
    y, x = np.mgrid[:1024, :1024]
    for row in range(count):
        draw = np.random.default_rng([5, row])
        top, left = draw.uniform(0, 40, 2)
        holes = np.hypot((y + top) % 40 - 20, (x + left) % 40 - 20)
        picture = 110 + 45 * np.exp(-(((holes - 11) / 2.0) ** 2)) - 45 * (holes < 10)
        mask = np.zeros((1088, 1024), bool)
        for _ in range(6):
            spot, radius = draw.uniform(20, 1000, 2), draw.uniform(4, 9)
            mask[:1024] |= np.hypot(y - spot[0], x - spot[1]) < radius
        picture = np.where(mask[:1024], 215.0, picture)
        bar = np.zeros((64, 1024))
        bar[20:44, 40:300] = 255
        whole = np.concatenate([ndimage.gaussian_filter(picture, 1) + draw.normal(0, 12, picture.shape), bar])
        name = f"frame_{row:02}.png"
        save(folder / name, whole)
        save(folder / "masks" / name, mask * 255.0)
        truth[name] = mask[:1024]
    return truth


CASES: dict[str, Callable[[Path], Truth]] = {
    "lines": lines, "holes": holes, "boards": boards, "tiles": tiles, "wafers": wafers, "frames": frames,
}  # fmt: skip
OPTIONS = {
    "lines": ["--clean", "ok_*", "--defect", "ng_*"],
    "boards": ["--layout", "pairs"],
    "frames": ["--load", "crop_bottom=64"],
}
"""What only the user can say: which names are clean, that names ending in `_temp` and `_test` are pairs, how high the data bar is."""


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "fabloom.flows", *arguments], capture_output=True, text=True, check=False)


def agreement(store: Any, key: str, truth: Truth) -> dict[str, float]:
    """Share of images whose label and truth agree on whether there is a defect; share of true defects that the label touches."""
    labelled = store.get(key)
    masks = np.isin(labelled.masks[...], (0, 255), invert=True)
    names, source = labelled.source_names, labelled.source[...]
    same, touched, defects = [], 0, 0
    for mask, at in zip(masks, source, strict=True):
        wanted = truth[names[at]]
        same.append(bool(mask.any()) == bool(wanted.any()))
        parts, found = ndimage.label(wanted)
        touched += len(set(np.unique(parts[mask])) - {0})
        defects += found
    return {"images": len(same), "agree": float(np.mean(same)), "defects": defects, "touched": touched / max(defects, 1)}


def squares(store: Any, key: str, truth: Truth, side: int = 128) -> dict[str, float]:
    """The same for squares of the images, where every whole image has a defect: those with half of a box or more, and with none."""
    labelled = store.get(key)
    masks = np.isin(labelled.masks[...], (0, 255), invert=True)
    same = []
    for mask, at in zip(masks, labelled.source[...], strict=True):
        boxes, count = ndimage.label(truth[labelled.source_names[at]])
        areas = np.maximum(np.bincount(boxes.ravel(), minlength=count + 1), 1)
        for top in range(0, mask.shape[0] - side + 1, side):
            for left in range(0, mask.shape[1] - side + 1, side):
                one = (slice(top, top + side), slice(left, left + side))
                inside = float((np.bincount(boxes[one].ravel(), minlength=count + 1) / areas)[1:].max(initial=0))
                if inside == 0 or inside > 0.5:
                    same.append(bool(mask[one].any()) == (inside > 0.5))
    return {"squares": len(same), "squares_agree": float(np.mean(same))}


def sheet(path: Path, store: Any, test: str, model: str, truth: Truth, side: int = 128) -> None:
    """Three held-out images with a defect: as they are, with the truth, and with what the segmenter finds; parts of large ones."""
    step = {"task": "unet.segment", "inputs": {"images": f"key:{test}", "model": f"key:{model}"}}
    made = fabloom.run({"name": "found", "steps": {"found": step}}, store=store, device="cpu")
    found: Any = store.get(made.steps[0].key)
    names = [found.source_names[at] for at in found.source[...]]
    rows = []
    for row in [number for number, name in enumerate(names) if truth[name].any()][:3]:
        pixels, wanted = found.images[row : row + 1][0].astype(np.uint8), truth[names[row]]
        picture = np.repeat(pixels, 3, 0)[:3] if len(pixels) == 1 else pixels
        y, x = (int(at) for at in ndimage.center_of_mass(ndimage.label(wanted)[0] == 1))
        top, left = (max(0, min(at - side // 2, length - side)) for at, length in zip((y, x), wanted.shape, strict=True))
        window = np.s_[top : top + side, left : left + side]
        plain = picture.transpose(1, 2, 0)[window]
        parts = [
            plain,
            overlaid(plain, wanted[window], (255, 190, 0)),
            overlaid(plain, found.masks[row : row + 1][0][window] > 0, (255, 40, 40)),
        ]
        rows.append(np.concatenate([np.pad(part, ((2, 2), (2, 2), (0, 0)), constant_values=255) for part in parts], 1))
    # an octree keeps rare colours, which the outlines are
    Image.fromarray(np.concatenate(rows)).quantize(96, method=Image.Quantize.FASTOCTREE).save(path, optimize=True)


def overlaid(plain: NDArray[np.uint8], mask: NDArray[np.bool_], colour: tuple[int, int, int]) -> NDArray[np.uint8]:
    """The outline of a mask on a picture [H,W,3]."""
    outline = ndimage.binary_dilation(mask, iterations=2) & ~mask
    return np.where(outline[..., None], np.array(colour, np.uint8), plain)


def tried(name: str, out: Path, steps: int | None, settings: list[str]) -> dict[str, Any]:
    """Draw, init, run; what was found and what came out."""
    folder, store, file = out / name, out / "store", out / f"{name}.yaml"
    truth = CASES[name](folder)
    file.unlink(missing_ok=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    looked = command("init", str(folder), "-o", str(file), "--json", *OPTIONS.get(name, []))
    if looked.returncode:
        return {"case": name, "init": looked.returncode, "said": looked.stderr.strip()}
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    changed = [f"steps.segmenter.params.steps={steps}"] if steps is not None else []
    sets = [word for setting in [*changed, *settings] for word in ("--set", setting)]
    ran = command("run", str(file), "--store", str(store), "--engine", "inline", "--device", "cpu", "--json", *sets)
    if ran.returncode:
        return {"case": name, "init": 0, "run": ran.returncode, "said": ran.stderr.strip()[-2000:]}
    result = json.loads(ran.stdout)
    opened: Any = fabloom.open_store(store, read_only=True)
    told: dict[str, Any] = {"case": name, "init_cpu_s": round(spent.ru_utime - before.ru_utime, 1), "page": result["report_path"]}
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    told["run_cpu_s"] = round(after.ru_utime - spent.ru_utime, 1)
    keys = {step: one["key"] for step, one in result["steps"].items()}
    if "labelled" in keys:
        told |= agreement(opened, keys["labelled"], truth)
        told |= squares(opened, keys["labelled"], truth) if name == "boards" else {}
    sheet(out / f"{name}.png", fabloom.open_store(store), keys["test"], keys["segmenter"], truth)
    metrics = opened.get(keys["report"]).metrics
    wanted = ("iou_defect", "detection_rate", "false_alarm_rate")
    told |= {f"{one}.{score}": metrics[one][score] for one in ("model", "baseline", "nothing") if one in metrics for score in wanted}
    return told | {"chosen": json.loads(looked.stdout)["chosen"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--steps", type=int, help="training steps of the segmenter, instead of those that init chose")
    parser.add_argument("--set", action="append", default=[])
    given = parser.parse_args()
    for name in given.only:
        print(json.dumps(tried(name, given.out, given.steps, given.set), indent=1), flush=True)


if __name__ == "__main__":
    main()
