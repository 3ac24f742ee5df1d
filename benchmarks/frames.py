"""`one-shot` on frames of other sizes and structures: CPU seconds and memory of every step, whole or with a budget cut for a first look.

    python benchmarks/frames.py OUT [--only lines-1024 board-512] [--count 50] [--set steps.model.params.steps=300]

Each case is a folder of two files, one with a defect and its clean twin with noise of its own: `lines` (periodic) and `plates`
(rectangles at random: nothing repeats) are drawn by code that shares nothing with what reads them, `board` is cut from a pair of DeepPCB
($FABLOOM_DATA_DIR/deeppcb). A case runs in a process of its own with as many threads as FABLOOM_THREADS says; memory is the most that
the process had held when a step ended. OUT/NAME.png shows the training image and samples in the same grey range, the label outlined;
the report lies in OUT/NAME/store/reports. With a budget cut by `--set` the rows say what the other steps cost.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
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

Pixels = NDArray[np.uint8]
Pair = tuple[Pixels, Pixels]
BOARD = "00041000"
TESTED = 16
"""Variations of the two images that the segmenters are scored on: each is predicted 36 times, by six networks and under six moves."""
SHOWN, SIDE = 4, 384
"""Samples on a picture, and the side that each part of it is shrunk to."""


def noisy(defect: NDArray[Any], clean: NDArray[Any], seed: int) -> Pair:
    """Both blurred alike, with noise of their own."""
    draw = np.random.default_rng(seed)
    made = [80 + 90 * ndimage.gaussian_filter(part.astype(float), 1.2) + draw.normal(0, 4, part.shape) for part in (defect, clean)]
    first, second = (np.clip(np.rint(part), 0, 255).astype(np.uint8) for part in made)
    return first, second


def lines(size: int) -> Pair:
    """Vertical lines of 24 px pitch, one bridge."""
    y, x = np.mgrid[:size, :size]
    clean = (x + 6) % 24 < 12
    left = 24 * round(size * 0.4 / 24) + 6
    bridge = (np.abs(y - size * 0.55) < 5) & (x >= left) & (x < left + 12)
    return noisy(clean | bridge, clean, 1)


def plates(size: int) -> Pair:
    """Rectangles at random places, one of them with a spot."""
    draw = np.random.default_rng(2)
    y, x = np.mgrid[:size, :size]
    clean = np.zeros((size, size), bool)
    for _ in range(size * size // 2500):
        (top, left), (tall, wide) = draw.integers(-10, size, 2), draw.integers(8, 40, 2)
        clean[max(top, 0) : top + tall, max(left, 0) : left + wide] ^= True
    spot = np.hypot(y - size * 0.45, x - size * 0.6) < 7
    return noisy(clean ^ spot, clean, 3)


def board(size: int) -> Pair:
    """A cut of one board, around the first defect where not all of them fit."""
    folder = Path(os.environ["FABLOOM_DATA_DIR"]) / "deeppcb"
    left, top, right, bottom, _ = map(int, (folder / f"{BOARD}.txt").read_text().splitlines()[0].split())
    corner = [min(max((low + high - size) // 2, 0), 640 - size) for low, high in ((top, bottom), (left, right))]
    cut = tuple(slice(at, at + size) for at in corner)
    test, template = (np.asarray(Image.open(folder / f"{BOARD}_{kind}.jpg").convert("L"))[cut] for kind in ("test", "temp"))
    return test, template


CASES: dict[str, tuple[Callable[[int], Pair], int]] = {
    "lines-96": (lines, 96),
    "plates-224": (plates, 224),
    "board-512": (board, 512),
    "lines-1024": (lines, 1024),
    "plates-1024": (plates, 1024),
}


def spent() -> tuple[float, float]:
    """(CPU seconds, MiB at most) of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def settings(folder: Path, count: int) -> list[str]:
    """The pipeline on a folder, with as many variations as samples."""
    counted = [f"steps.{step}.params.count={count}" for step in ("synthetic", "varied")]
    return [f"steps.images.params.path={folder}", f"steps.test.params.count={min(count, TESTED)}", *counted]


def measured(name: str, out: Path, count: int, changes: list[str]) -> None:
    """Run one case in this process, and print a line a step."""
    import fabloom

    folder, marks = out / name / "images", {}
    began = spent()[0]

    def emit(event: dict[str, Any]) -> None:
        nonlocal began
        if event["event"] == "finished":
            now, most = spent()
            marks[event["step"]] = {"cpu": round(now - began, 1), "mib": round(most)}
            print(f"  {name}: {event['step']} {marks[event['step']]}", file=sys.stderr, flush=True)
            began = now

    store = fabloom.open_store(out / name / "store")
    result = fabloom.run("one-shot", store=store, set=[*settings(folder, count), *changes], device="cpu", emit=emit, check=False)
    if result.exit_code == 0:
        picture(out / f"{name}.png", result["images"], result["labelled"])
    failed = next(({"step": step.name, "error": step.error} for step in result.steps if step.error), None)
    print(json.dumps({"case": name, "exit": result.exit_code, "failed": failed, "steps": marks, "page": str(result.report_path)}))


def picture(path: Path, images: Any, labelled: Any) -> None:
    """The image with the defect and the first samples, labels outlined."""
    parts = [(np.asarray(images.images[...])[np.flatnonzero(images.domain[...] == 1)[0], 0], None)]
    parts += [(np.asarray(labelled.images[row])[0], np.asarray(labelled.masks[row])) for row in range(min(SHOWN, len(labelled)))]
    low, high = np.percentile(parts[0][0], (0.5, 99.5))
    strip = []
    for pixels, mask in parts:
        grey = np.clip((pixels.astype(float) - low) / (high - low) * 255, 0, 255).astype(np.uint8)
        colours = np.repeat(grey[..., None], 3, 2)
        if mask is not None:
            near = ndimage.binary_dilation(mask == 1, iterations=max(2, len(mask) // 150))
            colours[near & ~ndimage.binary_erosion(near, iterations=max(1, len(mask) // 300))] = (255, 60, 40)
        strip.append(np.asarray(Image.fromarray(colours).resize((SIDE, SIDE), Image.Resampling.LANCZOS)))
    Image.fromarray(np.concatenate(strip, 1)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", nargs="*", default=list(CASES), choices=list(CASES))
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--case", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case:
        measured(given.case, given.out, given.count, given.set)
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, threads {os.environ.get('FABLOOM_THREADS', 'as many as are free')}")
    for name in given.only:
        make, size = CASES[name]
        folder = given.out / name / "images"
        folder.mkdir(parents=True, exist_ok=True)
        for file, pixels in zip(("bridge_defect", "no_defect"), make(size), strict=True):
            Image.fromarray(pixels).save(folder / f"{file}.png")
        command = [sys.executable, __file__, str(given.out), "--case", name, "--count", str(given.count)]
        for change in given.set:
            command += ["--set", change]
        told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])
        total = sum(step["cpu"] for step in told["steps"].values())
        print(f"\n{name}: exit {told['exit']}, {total:.0f} CPU s; {told['failed'] or told['page']}\n")
        print("| step | CPU s | MiB at most |\n|---|---|---|")
        for step, row in told["steps"].items():
            print(f"| {step} | {row['cpu']} | {row['mib']} |", flush=True)


if __name__ == "__main__":
    main()
