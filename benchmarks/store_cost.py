"""What a commit, a hit and a batch read cost in two trees of fabloom, side by side.

    python benchmarks/store_cost.py --before /OTHER/TREE/.venv/bin/python [--rounds 15] [--folder DIR] [--json]

One process a tree, both alive all the time; in every round each is given the same work in turn, in an order that changes. What is printed
are medians over the rounds of the ratio of CPU seconds (user and system, of the whole process) now to before, with the quartiles, and the
medians of the seconds themselves.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

JOBS = (
    "commit of 64 images",
    "commit of 200 tensors",
    "commit of 2048 rows",
    "100 hits",
    "100 batches of 16 rows",
    "model of 200 tensors read",
)


class Tree:
    """The jobs, in the tree that this interpreter imports."""

    def __init__(self, folder: Path) -> None:
        import numpy as np
        import torch

        from fabloom.kinds import ImageSet, Model, OfflineData, RowSpec
        from fabloom.method import Context
        from fabloom.storage.backends.local import LocalStore

        torch.set_num_threads(1)
        chance = np.random.default_rng(1)
        self._store, self._folder, self._n = LocalStore(folder), folder, 0
        images = chance.integers(0, 255, (64, 1, 64, 64), np.uint8)
        masks = (images[:, 0] > 240).astype(np.uint8)
        state = {f"layer.{i}": torch.randn(64, 16, generator=torch.Generator().manual_seed(i)) for i in range(200)}
        codes = chance.integers(-100, 100, (2048, 8, 32, 32), np.int8)

        def make(write: Callable[[Any], Any], kind: str) -> str:
            self._n += 1
            key = f"{self._n:040x}"
            with self._store.lock(key, lambda pid: None, lambda: False):
                staged = self._store.stage(key)
                work = self._store.work(key)
                context = Context(staging=staged, seed=1, workdir=work, device="cpu", emit=lambda event: None)
                write(context)
                preimage = {"task": "cost.make", "inputs": {}, "params": {}, "n": self._n}
                self._store.commit(staged, {"kind": kind, "preimage": preimage, "plugin": {"distribution": "x", "version": "1"}})
            return key

        def rows(context: Any) -> Any:
            writer = OfflineData.writer(context, count=2048, block=256, arrays={"codes": RowSpec("int8", (8, 32, 32))})
            for start in range(0, 2048, 256):
                writer.append({"codes": codes[start : start + 256]})
            return OfflineData.finish(context, writer, {})

        self._model = make(lambda context: Model.write(context, state, {}), "Model")
        self._rows = make(rows, "OfflineData")
        self._order = chance.integers(0, 2048, (100, 16))
        self._jobs: dict[str, Callable[[], Any]] = {
            JOBS[0]: lambda: make(lambda context: ImageSet.write(context, images, masks=masks), "ImageSet"),
            JOBS[1]: lambda: make(lambda context: Model.write(context, state, {}), "Model"),
            JOBS[2]: lambda: make(rows, "OfflineData"),
            JOBS[3]: self._hits,
            JOBS[4]: self._batches,
            JOBS[5]: lambda: self._store.get(self._model).state(),  # type: ignore[attr-defined]
        }

    def _hits(self) -> None:
        for _ in range(100):
            assert self._store.has(self._model) and self._store.manifest(self._model)["digest"]

    def _batches(self) -> None:
        reader = self._store.get(self._rows).reader(["codes"], threads=1)  # type: ignore[attr-defined]
        for batch in self._order:
            reader.read(batch)

    def measure(self, job: str) -> float:
        """CPU seconds of a job."""
        before = time.process_time()
        self._jobs[job]()
        return time.process_time() - before


def serve(folder: str) -> None:
    """Do what stdin names, a line each, and tell the seconds."""
    tree = Tree(Path(folder))
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(json.dumps(tree.measure(json.loads(line))), flush=True)


def start(python: str, folder: Path) -> subprocess.Popen[str]:
    command = [python, "-P", __file__, "--serve", str(folder)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert process.stdout is not None
    if process.stdout.readline().strip() != '"ready"':
        raise SystemExit(f"{python} does not come up")
    return process


def ask(process: subprocess.Popen[str], job: str) -> float:
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write(json.dumps(job) + "\n")
    process.stdin.flush()
    return float(json.loads(process.stdout.readline()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", help="interpreter of the tree to compare with")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--folder", help="where the two stores are made (default: the system's temporary folder)")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve:
        serve(given.serve)
        return
    if not given.before:
        parser.error("--before is needed: the interpreter of the other tree")
    with tempfile.TemporaryDirectory(prefix="fabloom-cost-", dir=given.folder) as folder:
        both = {"before": start(given.before, Path(folder) / "before"), "now": start(sys.executable, Path(folder) / "now")}
        seconds: dict[str, dict[str, list[float]]] = {job: {"before": [], "now": []} for job in JOBS}
        for n in range(given.rounds + 1):
            for job in JOBS:
                for name in ("before", "now") if n % 2 else ("now", "before"):
                    taken = ask(both[name], job)
                    if n:  # the first warms both
                        seconds[job][name].append(taken)
        for process in both.values():
            process.communicate()
    table = {}
    for job, found in seconds.items():
        ratios = [now / before for now, before in zip(found["now"], found["before"], strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4)
        table[job] = {"ratio": middle, "quartiles": [low, high], **{name: statistics.median(values) for name, values in found.items()}}
    if given.json:
        print(json.dumps(table))
        return
    print(f"\n{platform.machine()}, Python {platform.python_version()}, {given.rounds} rounds\n")
    print("| what | before, ms | now, ms | ratio (quartiles) |\n|---|---|---|---|")
    for job, row in table.items():
        low, high = row["quartiles"]
        print(f"| {job} | {row['before'] * 1e3:.1f} | {row['now'] * 1e3:.1f} | {row['ratio']:.3f} ({low:.3f}-{high:.3f}) |")


if __name__ == "__main__":
    main()
