"""One recording on several workers: wall seconds for each number of them at one torch thread each, side by side, and the digests.

    python benchmarks/fanout.py [--rows 20480] [--workers 1 2] [--runner processes|dask|ray] [--teacher small|default] [--rounds 1] [--json]

A teacher is trained for a moment, then `denoising-circuits.record` runs once for each number of workers, in turn. The `default` teacher is
that of the parameters, on images of 32 x 32; the `small` one has half its width, on 16 x 16: a row takes a fourteenth of the time, so that
what workers do not share weighs more. Start-up, until the first worker has begun (the step server imports torch, dask or ray starts
its cluster), is told apart from the step, which ends with the commit; of a step in parts the join is in it. Exit code 1 where
digests differ.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ |= {"FABLOOM_THREADS": "1", "OMP_NUM_THREADS": "1"}

from fabloom.method import Options
from fabloom.pipeline import Pipeline
from fabloom.planning.plan import make_plan
from fabloom.registry import Registry
from fabloom.running.engine import Engine
from fabloom.running.executors import Executor, ProcessExecutor
from fabloom.running.executors.dask import DaskExecutor
from fabloom.running.executors.ray import RayExecutor
from fabloom.running.parts import Crew
from fabloom.storage.backends.local import LocalStore

PRELOAD = ("torch", "torch._dynamo", "diffusers", "zarr")


SMALL = {"latent_channels": 32, "head_width": 32}


def pipeline(rows: int, block: int, teacher: str) -> Pipeline:
    """Images, a teacher that has hardly learnt, its recording."""
    base = {"steps": 4} if teacher == "default" else {"steps": 4, "channels": [32, 64]}
    size = 32 if teacher == "default" else 16
    return Pipeline.parse({
        "name": "fanout",
        "steps": {
            "images": {"task": "line-pair.simulate", "params": {"count": 64, "size": size}},
            "teacher": {
                "task": "denoising-circuits.train", "inputs": {"images": "images"},
                "params": {"base": base, "stages": [{"steps": 2, "step_probs": [0, 1]}], **({} if teacher == "default" else SMALL)},
            },
            "offline": {
                "task": "denoising-circuits.record", "inputs": {"teacher": "teacher"}, "params": {"count": rows, "block": block},
            },
        },
    })  # fmt: skip


def timed(registry: Registry, store: LocalStore, step: Any, workers: int, runner: str) -> dict[str, Any]:
    """Make the step once, from nothing."""
    if store.has(step.key):
        store.set_aside(step.key)
    executor: Executor = ProcessExecutor(PRELOAD)
    if runner != "processes":
        executor = (DaskExecutor if runner == "dask" else RayExecutor)(workers, "", PRELOAD)
    marks: dict[str, float] = {}

    def emit(event: dict[str, Any]) -> None:
        at = time.monotonic()
        if event["event"] == "started":
            marks.setdefault("started", at)
        if event["event"] == "progress":
            marks["rows"] = at

    began = time.monotonic()
    try:
        result = Engine(registry, store, Options("cpu"), emit, executor=executor, crew=Crew(workers)).perform(step)
        ended = time.monotonic()
    finally:
        executor.close()
    if result.status != "ran":
        sys.exit(f"{workers} workers: {result.error}")
    step_seconds = ended - marks["started"]
    return {
        "workers": workers, "startup": marks["started"] - began, "step": step_seconds, "after_last_row": ended - marks["rows"],
        "digest": result.digest,
    }  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_480)
    parser.add_argument("--block", type=int, default=512)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--runner", choices=["processes", "dask", "ray"], default="processes")
    parser.add_argument("--teacher", choices=["small", "default"], default="small")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    registry = Registry.load()
    with tempfile.TemporaryDirectory(prefix="fabloom-fanout-") as folder:
        store = LocalStore(Path(folder) / "store")
        plan = make_plan(pipeline(asked.rows, asked.block, asked.teacher), registry, store)
        for name in ("images", "teacher"):
            made = Engine(registry, store, Options("cpu")).perform(plan.step(name))
            if made.exit_code:
                sys.exit(made.error)
        runs = [
            timed(registry, store, plan.step("offline"), workers, asked.runner) for _ in range(asked.rounds) for workers in asked.workers
        ]
    seconds = {n: statistics.median(run["step"] for run in runs if run["workers"] == n) for n in asked.workers}
    if asked.json:
        print(json.dumps({"rows": asked.rows, "runner": asked.runner, "runs": runs, "seconds": seconds}, indent=1))
    else:
        for run in runs:
            told = f"start-up {run['startup']:6.1f} s   step {run['step']:7.1f} s   after the last row {run['after_last_row']:5.1f} s"
            print(f"{run['workers']} workers   {told}   {asked.rows / run['step']:7.0f} rows/s   digest {run['digest'][:12]}")
        first = asked.workers[0]
        on = f"{asked.runner}, {asked.rows} rows, {asked.teacher} teacher"
        for workers in asked.workers[1:]:
            print(f"{workers} workers against {first}: {seconds[first] / seconds[workers]:.2f} times ({on})")
    if len({run["digest"] for run in runs}) != 1:
        sys.exit("the digests differ")


if __name__ == "__main__":
    main()
