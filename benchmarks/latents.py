"""CPU seconds of a sample of `ddpm` in pixels and in the latents of an autoencoder, at equal steps, one thread.

    python benchmarks/latents.py [--size 96] [--count 16] [--steps 20] [--repeats 3]

Both networks have the default shape. They are all but untrained, which takes as long: what the images look like is not measured here.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from fabloom.kinds import Artifact, ImageSet, Model
from fabloom.plugins.data.line_pair.method import LinePair
from fabloom.plugins.diffusion.autoencoder.method import Autoencoder
from fabloom.plugins.diffusion.ddpm.method import Ddpm
from fabloom.testing import MemoryStore
from fabloom.testing.running import run_task

BRIEF = {"steps": 2, "batch": 2}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, usual in (("size", 96), ("count", 16), ("steps", 20), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=usual)
    given = parser.parse_args()
    torch.set_num_threads(1)
    store = MemoryStore()

    def drawn(model: Artifact, seed: int) -> float:
        params = {"count": given.count, "batch": given.count, "steps": given.steps}
        began = time.process_time()
        run_task(store, Ddpm, "sample", params, seed=seed, inputs={"model": model})
        return (time.process_time() - began) / given.count

    images = run_task(store, LinePair, "simulate", {"count": 8, "size": given.size})
    codec = run_task(store, Autoencoder, "train", BRIEF | {"crop": None}, inputs={"images": images})
    assert isinstance(images, ImageSet) and isinstance(codec, Model)
    models = {"pixels": {"images": images}, "latents": {"images": images, "autoencoder": codec}}
    trained = {name: run_task(store, Ddpm, "train", BRIEF, inputs=inputs) for name, inputs in models.items()}
    rows = [{name: drawn(model, seed) for name, model in trained.items()} for seed in range(given.repeats)]
    for name in models:
        print(f"{name}: {statistics.median(row[name] for row in rows):.3f} CPU s a sample")
    print(f"pixels over latents, median of {given.repeats}: {statistics.median(row['pixels'] / row['latents'] for row in rows):.1f}")


if __name__ == "__main__":
    main()
