"""What `fabloom predict` costs, files read and written: CPU seconds and peak memory of the command, and of its parts.

    python benchmarks/predict.py [--images 1000] [--side 96] [--frames 1] [--frame 4096] [--steps 20] [--parts]

Trains a default U-Net of few steps (its cost does not depend on what it learned; its findings do, so it is trained, not random), writes a
folder of images of `--side` pixels and one of `--frame` pixels, and runs the command on each in a process of its own. CPU seconds are those
of the process and its children; a busy machine does not move them much. `--parts` says where they go, from one profile in this process.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import fabloom

PART = ("images/loading.py", "unet/segmentation.py", "unet/tiling.py", "export/predictions.py", "export/images.py", "PIL/Image.py")


def trained(store: Path, steps: int) -> str:
    """The key of a segmenter of 32 px line pairs."""
    images = {"task": "line-pair.simulate", "params": {"count": 256, "size": 32}}
    train = {"task": "unet.train", "inputs": {"images": "images"}, "params": {"steps": steps}}
    result = fabloom.run({"name": "segmenter", "steps": {"images": images, "model": train}}, store=fabloom.open_store(store))
    return result.steps[-1].key


def folder(at: Path, store: Path, count: int, side: int) -> Path:
    """`count` images of `side` pixels, tiled from simulated ones so that they hold defects, each with noise of its own."""
    images = {"task": "line-pair.simulate", "params": {"count": 64, "size": 32}}
    opened = fabloom.open_store(store)
    result = fabloom.run({"name": "pieces", "seed": 9, "steps": {"images": images}}, store=opened)
    pieces, draw = np.asarray(opened.get(result.steps[-1].key).images[:, 0]), np.random.default_rng(0)
    at.mkdir()
    repeats = -(-side // 32)
    for number in range(count):
        rows = [np.concatenate(pieces[draw.integers(0, 64, repeats)], 1) for _ in range(repeats)]
        pixels = np.concatenate(rows)[:side, :side] + draw.normal(0, 1, (side, side))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(at / f"image {number:05d}.png")
    return at


def measured(command: list[str]) -> dict[str, float]:
    """Wall and CPU seconds, peak MiB of the largest process, of a command in a process of its own."""
    code = (
        "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]); u = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print('USED', code, u.ru_utime + u.ru_stime, u.ru_maxrss / 1024)"
    )
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=False)
    wall = time.perf_counter() - began
    used = next((line.split() for line in done.stdout.splitlines() if line.startswith("USED")), ["USED", "1", "0", "0"])
    if used[1] != "0":
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return {"wall s": wall, "CPU s": float(used[2]), "peak MiB": float(used[3])}


def parts(model: str, images: Path, out: Path, store: Path) -> None:
    """The functions that take longest of one run in this process."""
    from fabloom.flows.run.predict import predict_folder

    profile = cProfile.Profile(time.process_time)
    profile.runcall(predict_folder, model, images, out, store=store)
    stats: Any = pstats.Stats(profile)
    stats.sort_stats("cumulative").print_stats("|".join(PART), 30)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in {"images": 1000, "side": 96, "frames": 1, "frame": 4096, "steps": 100}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--parts", action="store_true")
    given = parser.parse_args()
    at = Path(tempfile.mkdtemp(prefix="fabloom-predict-"))
    model = trained(at / "store", given.steps)
    print(f"{os.cpu_count()} cores, {os.environ.get('OMP_NUM_THREADS', 'all')} threads, peak of this process "
          f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB")  # fmt: skip
    for name, count, side in (("small", given.images, given.side), ("frame", given.frames, given.frame)):
        if not count:
            continue
        images = folder(at / name, at / "store", count, side)
        command = [
            sys.executable,
            "-m",
            "fabloom.flows",
            "predict",
            model,
            str(images),
            "-o",
            str(at / f"{name}-out"),
            "--store",
            str(at / "store"),
        ]
        used = measured(command)
        print(f"{count} images of {side} px: " + ", ".join(f"{value:.1f} {unit}" for unit, value in used.items()), flush=True)
        written = sum(path.stat().st_size for path in (at / f"{name}-out").rglob("*") if path.is_file())
        print(f"  {used['CPU s'] / count * 1000:.1f} CPU ms an image, {written / 1e6:.1f} MB written")
        if given.parts:
            parts(model, folder(at / f"{name}-again", at / "store", count, side), at / f"{name}-parts", at / "parts-store")


if __name__ == "__main__":
    main()
