"""What a plugin's author waits for: from `fabloom new plugin` to a passing conformance run, and how long the parts take.

    python benchmarks/authors.py [--json]

Each command is what the tutorial says, in a folder of its own; the plugin is installed into a folder on PYTHONPATH, so that the
environment stays as it was. Wall and CPU seconds (children included); one run, on whatever else the machine does.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

FABLOOM = [sys.executable, "-m", "fabloom.flows"]
NAME = "bench-weave"


def timed(command: list[str], folder: Path, site: Path) -> tuple[float, float, str]:
    """Wall and CPU seconds of a command, and what it printed. Raises SystemExit where it fails."""
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def measure() -> list[dict[str, Any]]:
    """One row a command, and the sum."""
    with tempfile.TemporaryDirectory(prefix="fabloom-authors-") as place:
        folder, site = Path(place), Path(place) / "site"
        install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--no-build-isolation"]
        journey = {
            "fabloom new plugin": [*FABLOOM, "new", "plugin", NAME],
            "install it": [*install, "--python", sys.executable, "--target", str(site), f"./{NAME}"],
            "fabloom plugins": [*FABLOOM, "plugins"],
            "pytest: conformance and learning": [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", NAME],
        }
        rows = []
        for what, command in journey.items():
            wall, cpu, said = timed(command, folder, site)
            told = said.strip().splitlines()[-1] if "pytest" in what else ""
            rows.append({"what": what, "wall": round(wall, 2), "cpu": round(cpu, 2), "said": told})
            print(f"{what}: {wall:.1f} s wall, {cpu:.1f} CPU s {told}", file=sys.stderr)
    rows.append(
        {"what": "together", "wall": round(sum(r["wall"] for r in rows), 2), "cpu": round(sum(r["cpu"] for r in rows), 2), "said": ""}
    )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = measure()
    if given.json:
        print(json.dumps(rows, indent=2))
        return
    print("| what | wall s | CPU s |\n|---|---|---|")
    for row in rows:
        print(f"| {row['what']} {row['said']} | {row['wall']} | {row['cpu']} |")


if __name__ == "__main__":
    main()
