"""CPU seconds of SinSEMI's preset `small` against the size of the image: a training step, what comes before it, and a sample.

    FABLOOM_THREADS=1 python benchmarks/generator_time.py [--sides 96 224 512] [--steps 8] [--count 2] [--batch 1]

One thread, CPU seconds of the process. A step is the difference of two trainings by the number of steps that one has more, so that
pyramid, copies and writing are not in it; they are the column "before". `fabloom init` tells a time to expect from these numbers
(`flows/init/expecting.py`): beside them stands what it would say, and the speed of this machine by the convolution that
`precision: auto` times, by which it corrects.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from frames import plates
from PIL import Image

from fabloom.plugins.data.images.method import Images
from fabloom.plugins.one_shot.sinsemi.method import SinSemi
from fabloom.precision import probe
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import run_task


def spent(work: Any) -> tuple[float, Any]:
    """(CPU seconds, what it gives) of a call."""
    began = time.process_time()
    given = work()
    return time.process_time() - began, given


def measured(side: int, steps: int, count: int, batch: int) -> tuple[float, float, float]:
    """CPU seconds (a step, before the first one, a sample; 0 without samples) at a side in pixels."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made) / "images"
        folder.mkdir()
        for name, pixels in zip(("defect", "clean"), plates(side), strict=True):
            Image.fromarray(pixels).save(folder / f"{name}.png")
        store = LocalStore(Path(made) / "store")
        images = run_task(store, Images, "load", {"path": str(folder), "clean": ["clean*"], "defect": ["defect*"]})

        def trained(steps: int) -> Any:
            return run_task(store, SinSemi, "train", {"steps": steps, "anchor": "reference"}, inputs={"images": images})

        def sampled() -> Any:
            return run_task(store, SinSemi, "sample", {"count": count, "batch": batch}, inputs={"model": model})

        (few, _), (many, model) = spent(lambda: trained(1)), spent(lambda: trained(1 + steps))
        step = (many - few) / steps
        return step, few - step, spent(sampled)[0] / count if count else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sides", type=int, nargs="+", default=[96, 224, 512])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--count", type=int, default=2, help="samples; 0 for none")
    parser.add_argument("--batch", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(1)
    finding = probe.measure(torch.device("cpu"))
    print(f"{1e3 * (finding.seconds or 0):.3f} ms the convolution in fp32; {finding}", flush=True)
    measured(64, 1, 1, 1)  # what is imported and planned once
    print("| side | a step | before | a sample |\n|---|---|---|---|")
    for side in given.sides:
        step, before, sample = measured(side, given.steps, given.count, given.batch)
        print(f"| {side} | {step:.3f} | {before:.1f} | {sample:.2f} |", flush=True)


if __name__ == "__main__":
    main()
