"""Does it help, over several seeds: the quickstart pipeline with other pipeline seeds, its reports side by side.

    python benchmarks/quality.py [--seeds 7 8 9] [--pipeline one-step] [--store DIR] [--set ...]

Each seed simulates its own training and test images, trains its own networks and is scored on its own held-out set.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import fabloom


def flat(metrics: dict[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested metrics as dotted names; only numbers."""
    found: dict[str, float] = {}
    for name, value in metrics.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[f"{prefix}{name}"] = float(value)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--pipeline", default="one-step")
    parser.add_argument("--store", default=None)
    parser.add_argument("--set", action="append", default=[])
    given = parser.parse_args()
    store = fabloom.open_store(given.store or tempfile.mkdtemp(prefix="fabloom-quality-"))
    columns: list[dict[str, float]] = []
    for seed in given.seeds:
        result = fabloom.run(given.pipeline, store=store, seed=seed, set=given.set, check=False)
        if result.exit_code:
            raise SystemExit(json.dumps(result.as_dict(), indent=1))
        column: dict[str, float] = {}
        for step in result.steps:
            if step.kind == "Report":
                column |= flat(step.metrics, f"{step.name}.")
            if step.kind == "ImageSet":
                domain: Any = store.get(step.key)
                if domain.domain is not None:
                    column[f"{step.name}.defect_share"] = float(domain.domain[:].mean())
        columns.append(column)
        print(f"seed {seed}: {Path(str(result.report_path)).name}, {sum(s.seconds for s in result.steps):.0f} s", flush=True)
    print("| metric | " + " | ".join(f"seed {s}" for s in given.seeds) + " | mean |")
    print("|---" * (len(given.seeds) + 2) + "|")
    for name in columns[0]:
        values = [column.get(name, float("nan")) for column in columns]
        print(f"| {name} | " + " | ".join(f"{v:.3f}" for v in values) + f" | {statistics.fmean(values):.3f} |")


if __name__ == "__main__":
    main()
