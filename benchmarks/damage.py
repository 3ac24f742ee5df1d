"""Damage every kind of file of a store, in every way, and see whether it is found where the documentation says.

    python benchmarks/damage.py --cases 2000 --checkpoints 500 [--seed 1] [--json]

A store is made that holds an artifact of every kind, refs, a page, a memory of sources, what dead runs leave (a recording with its
journal, a training with two checkpoints, locks, a pin). Each case copies it, damages one file, and looks: what does reading say, what
`verify`, do all other artifacts still give their values, do the commands end with a line and a code; then the pipeline is run again,
with `--redo` where that is what the page promises, and must end with the digests of an undisturbed run.

`PROMISES` is the table of docs/concepts/store.md. The checkpoint cases run a stopped training to its end and compare its digest.
Needs no root; as root the cases without permission run as `nobody`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path

from damaging.bench import prepare
from damaging.cases import store_cases
from damaging.checkpoints import checkpoint_cases
from damaging.looking import Summary, command


def measure(folder: Path, cases: int, checkpoints: int, seed: int) -> Summary:
    """Prepare a store in `folder` and damage copies of it."""
    began = time.process_time()
    bench = prepare(folder)
    summary = Summary(marked=bench.marked)
    bench.copy()  # once as it is, so that everything is imported before a case has fewer rights
    for arguments in (("run", str(folder / "report.yaml"), "--engine", "inline", "--json"), ("verify",), ("artifacts",)):
        code, _, err = command(bench.registry, *arguments, "--store", str(bench.hurt))
        assert code == 0, f"the sound store is not: {err}"
    store_cases(bench, cases, seed, summary)
    checkpoint_cases(bench, checkpoints, seed, summary)
    summary.cpu_seconds = time.process_time() - began
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=2000, help="damages to the files of a store")
    parser.add_argument("--checkpoints", type=int, default=500, help="damages to checkpoints")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    given = parser.parse_args()
    os.environ.setdefault("FABLOOM_THREADS", "1")
    with tempfile.TemporaryDirectory(prefix="fabloom-damage-") as folder:
        summary = measure(Path(folder), given.cases, given.checkpoints, given.seed)
    if given.json:
        print(json.dumps({**vars(summary), "sound": summary.sound}))
    else:
        print(f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
        print("| what | count |\n|---|---|")
        for name, value in vars(summary).items():
            if name not in ("skipped", "told"):
                print(f"| {name.replace('_', ' ')} | {round(value, 1) if isinstance(value, float) else value} |")
        print("\nskipped: " + ("; ".join(f"{why} ({count})" for why, count in summary.skipped.most_common()) or "none"))
        print("\n".join(["", *summary.told[:40], f"\n{'sound' if summary.sound else 'BROKEN'}"]))
    sys.exit(not summary.sound)


if __name__ == "__main__":
    main()
