"""One step against the recurrence: CPU seconds per image of the published networks, side by side in one run.

    python benchmarks/one_step.py [--batch 4] [--rounds 5] [--device cpu]

Random weights: time does not depend on them. A recurrent step costs the same at every label, so a few are timed and 999 counted
(T - 1 of T = 1000); the encoder and the readout are added. One torch thread, medians of rounds that alternate.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import torch

from fabloom.plugins.one_step.denoising_circuits.networks import Circuit, CircuitConfig
from fabloom.plugins.one_step.denoising_circuits.student import OneStep

TIMED_STEPS = 3
UNET = {
    "sample_size": 32, "in_channels": 3, "out_channels": 3, "layers_per_block": 2, "block_out_channels": (128, 256, 256, 256),
    "down_block_types": ("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
    "up_block_types": ("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
    "attention_head_dim": None, "norm_eps": 1e-6, "downsample_padding": 0, "flip_sin_to_cos": False, "freq_shift": 1,
}  # fmt: skip


def clock(device: str, work: Callable[[], object]) -> float:
    """CPU seconds on a CPU, synchronised wall seconds on a GPU."""
    timer = time.process_time if device == "cpu" else time.perf_counter
    began = timer()
    work()
    if device != "cpu":
        torch.cuda.synchronize()
    return timer() - began


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    torch.set_num_threads(1)
    config = CircuitConfig(unet=UNET, labels=tuple(range(1000)), image_channels=3)
    circuit, student = (net.to(given.device).eval() for net in (Circuit(config), OneStep(config, chunks=10, final_norm=True)))
    x = torch.randn(given.batch, 3, 32, 32, device=given.device)
    last = torch.full((given.batch,), 999, device=given.device)
    z = circuit.rin(x, last)
    jobs: dict[str, Callable[[], object]] = {
        "one step (student + readout)": lambda: student(x),
        "Rin": lambda: circuit.rin(x, last),
        "R, one application": lambda: [circuit.step(z, last) for _ in range(TIMED_STEPS)],
        "X0out": lambda: circuit.x0_head(z, last * 0),
    }
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for work in jobs.values():
        work()
    for _ in range(given.rounds):
        for name, work in jobs.items():
            times[name].append(clock(given.device, work) / given.batch / (TIMED_STEPS if name.startswith("R,") else 1))
    cost = {name: statistics.median(found) for name, found in times.items()}
    whole = cost["Rin"] + 999 * cost["R, one application"] + cost["X0out"]
    print(f"{platform.machine()}, torch {torch.__version__}, {given.device}, batch {given.batch}, median of {given.rounds}")
    print("| what | seconds an image |\n|---|---|")
    for name, seconds in cost.items():
        print(f"| {name} | {seconds:.4f} |")
    print(f"| recurrence, T = 1000 | {whole:.1f} |")
    print(f"\nOne step is {whole / cost['one step (student + readout)']:.0f} times cheaper.")


if __name__ == "__main__":
    main()
