"""What a segmenter of larger images learns by in a given time: whole images, fewer of them a step, or windows of them.

    python benchmarks/windows.py STORE [--size 224] [--steps 200] [--repeats 2]

Arrays of SRAM cells and of contact holes, 48 simulated images to train on and 60 of another seed to score. CPU seconds are of this
process; a recipe whose model the store has already costs none in the table.
"""

from __future__ import annotations

import argparse
import resource
from typing import Any

import fabloom

SHOWN = ("iou_defect", "detection_rate", "defect_sensitivity", "false_alarm_rate")


def recipes(size: int) -> dict[str, dict[str, Any]]:
    """Parameters of `unet.train`; none of them bounds the pixels of a step."""
    free = {"pixels": 2**40}
    return {
        "whole, 16 a step": {"crop": size, "batch": 16, **free},
        "whole, 4 a step": {"crop": size, "batch": 4, **free},
        "windows of 128, 16 a step": {"crop": 128, "batch": 16, **free},
        "windows of 96, 16 a step": {"crop": 96, "batch": 16, **free},
        "windows of 64, 32 a step": {"crop": 64, "batch": 32, **free},
    }


def spent() -> float:
    """CPU seconds of this process."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Print a row a recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=2)
    given = parser.parse_args()
    store = fabloom.open_store(given.store)
    unet = fabloom.method("unet", store=store, device="cpu")
    print("| structure | a step takes | CPU s |", " | ".join(SHOWN), "|")
    for structure in ("sram-cell", "contact-hole"):
        simulator = fabloom.method(structure, store=store, device="cpu")
        learned, judged = (simulator.simulate(count, size=given.size, seed=seed) for count, seed in ((48, 1), (60, 2)))
        for title, params in recipes(given.size).items():
            began = spent()
            model = unet.train(learned, steps=given.steps, repeats=given.repeats, seed=3, **params)
            used = spent() - began
            found = unet.evaluate(judged, model, shifts=[]).to_frame().set_index("metric")["value"]
            print(
                f"| {structure} | {title} | {used:.0f} |", " | ".join(f"{found[f'model / {name}']:.3f}" for name in SHOWN), "|", flush=True
            )


if __name__ == "__main__":
    main()
