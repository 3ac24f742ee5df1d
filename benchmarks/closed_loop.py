"""Do misses fall when a segmenter says what it learns from next? The pipeline `closed-loop`, beside the same without the choice.

python benchmarks/closed_loop.py STORE                                   3 rounds, 3 draws, 64 x 64; about 40 minutes on one core
python benchmarks/closed_loop.py STORE --size 32 --steps 100 --small     the same in miniature; about 3 minutes
python benchmarks/closed_loop.py STORE --hardness 0.5 1                  one loop for each; what they share is made once
python benchmarks/closed_loop.py STORE --structure contact-hole

Copy-paste makes the images, since it costs nothing. Noise is strong, lines lie anywhere, and validation and test images have smaller and
larger defects than the few real ones: without that nothing is missed. What is in STORE is reused, so a run that was killed goes on, and a
further draw or round adds to what is there.
"""

from __future__ import annotations

import argparse
from typing import Any

import fabloom

HARD = [
    *(f"steps.{name}.params.noise_std=6" for name in ("images", "validation", "test")),
    *(f"steps.{name}.params.defect_low=0.15" for name in ("validation", "test")),
]
SMALL = {"pool": 100, "keep": 30, "count": 100, "validation": 120, "test": 240}


def main() -> None:
    """Run the loops and print a table of each."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("store", help="folder of a store, made where there is none")
    parser.add_argument("--structure", default="line-pair", choices=["line-pair", "contact-hole", "sram-cell"])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--real", type=int, default=3, help="real images with a defect")
    parser.add_argument("--clean", type=int, default=4, help="real images without one")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--hardness", type=float, nargs="+", default=[1.0])
    parser.add_argument("--diversity", type=float, default=0.3)
    parser.add_argument("--contrast", type=float, nargs=2, default=[0.5, 1.5], help="range of the factor of a pasted defect's contrast")
    parser.add_argument("--small", action="store_true", help="fewer images of everything")
    asked = parser.parse_args()
    anywhere = (
        [f"steps.{name}.params.random_phase=true" for name in ("images", "validation", "test")] if asked.structure == "line-pair" else []
    )
    for hardness in asked.hardness:
        params: dict[str, Any] = {
            **{name: getattr(asked, name) for name in ("structure", "draws", "rounds", "real", "clean", "size", "steps", "diversity")},
            **(SMALL if asked.small else {}), "hardness": hardness, "samples": {"contrast": asked.contrast},
        }  # fmt: skip
        told(hardness, fabloom.run("closed-loop", params=params, set=HARD + anywhere, store=asked.store, engine="inline", device="cpu"))


def told(hardness: float, done: Any) -> None:
    """The report of a run as a table."""
    report, chosen = (
        done["report"],
        [done[step.name] for step in done.steps if step.name.startswith("closed-loop") and "chosen" in step.name],
    )
    print(f"\nhardness {hardness:g}: {report.verdict}")
    table = report.tables["By round"]
    print(" | ".join(table.columns))
    for row in table.rows:
        print(" | ".join("" if value is None else str(value) for value in row))
    left = [one.attrs["left out"] for one in chosen]
    print("left out of the pools:", ", ".join(f"{name} {sum(one[name] for one in left)}" for name in left[0]))


if __name__ == "__main__":
    main()
