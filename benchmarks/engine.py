"""What the tool itself costs: CPU seconds of the commands people wait for, and of the engines per step.

    python benchmarks/engine.py [--repeats 9] [--steps 20] [--no-prefect] [--json]

Commands are started in a process of their own and their CPU seconds (user and system, children included) are read from the kernel;
the median counts. CPU seconds, unlike wall time, hardly change when the machine is busy with something else.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

INSTALLED = Path(__file__).parents[1] / "tests" / "installed"
FABLOOM = [sys.executable, "-m", "fabloom.flows"]
CHAIN = """
import json, resource, sys, tempfile, time
from pathlib import Path
import torch, zarr
import fabloom
from fabloom.context import Context
from fabloom.flows.run import api
from fabloom.registry import Registry
from fabloom.storage.store import Store

count, engine, folder = int(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
steps = {f"s{i}": {"task": "fade.make", "params": {"count": 64}, "seed": i} for i in range(count)}
pipeline = {"name": "chain", "steps": steps}
warm = {"name": "warm", "steps": {"s": {"task": "fade.make"}}}
api.run(warm, store=folder / "warm", device="cpu")

def spent():
    own, children = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime

cpu, wall = spent(), time.monotonic()
if engine == "direct":
    spec = Registry.load().task("fade.make")
    store = Store(folder / "direct")
    for index in range(count):
        context = Context(staging=store.stage(f"{index:040d}"), seed=index, workdir=store.work(f"{index:040d}"))
        spec.function(spec.method(), context, spec.params(count=64))
else:
    result = api.run(pipeline, store=folder / engine, engine=engine, device="cpu")
    assert result.exit_code == 0, result.steps
print(json.dumps([spent() - cpu, time.monotonic() - wall]))
"""


def environment(folder: str, *, toy: bool = True) -> dict[str, str]:
    """`toy` puts the toy plugin on the path; it imports numpy at once, which is not what fabloom itself costs."""
    return {
        **os.environ, "PYTHONPATH": str(INSTALLED) if toy else "", "FABLOOM_STORE": f"{folder}/store", "PREFECT_HOME": f"{folder}/prefect",
        "FABLOOM_THREADS": "1", "OMP_NUM_THREADS": "1",
    }  # fmt: skip


def cpu_seconds(command: list[str], folder: str, repeats: int, *, toy: bool = False) -> float:
    """Median CPU seconds of a command over `repeats` runs, after one that warms the file cache and the byte code."""
    spent = []
    for _ in range(repeats + 1):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=environment(folder, toy=toy), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        spent.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return statistics.median(spent[1:])


def chain(count: int, engine: str, folder: str) -> tuple[float, float]:
    """(CPU, wall) seconds of `count` trivial steps in one warm process; the server and the workers of Prefect included in CPU."""
    command = [sys.executable, "-c", CHAIN, str(count), engine, tempfile.mkdtemp(dir=folder)]
    done = subprocess.run(command, env=environment(folder), stdout=subprocess.PIPE, text=True, check=True)
    cpu, wall = json.loads(done.stdout.splitlines()[-1])
    return cpu, wall


def measure(repeats: int, steps: int, with_prefect: bool) -> list[dict[str, Any]]:
    """Rows of the table: what, target, measured, unit."""
    rows: list[dict[str, Any]] = []

    def row(what: str, target: float | None, take: Callable[[], float], unit: str = "CPU s") -> None:
        measured = take()
        rows.append({"what": what, "target": target, "measured": round(measured, 3), "unit": unit})
        print(f"{what}: {measured:.3f} {unit}", file=sys.stderr)

    with tempfile.TemporaryDirectory(prefix="fabloom-engine-") as folder:
        for module in ("fabloom", "prefect", "torch"):
            code = [sys.executable, "-c", f"import {module}"]
            row(f"`import {module}`", None, lambda code=code: cpu_seconds(code, folder, repeats))  # type: ignore[misc]
        row("`fabloom --help`", 0.4, lambda: cpu_seconds([*FABLOOM, "--help"], folder, repeats))
        row("`fabloom plugins`", 0.5, lambda: cpu_seconds([*FABLOOM, "plugins"], folder, repeats))
        row("`fabloom plan one-step`", 0.5, lambda: cpu_seconds([*FABLOOM, "plan", "one-step"], folder, repeats))
        rerun = [*FABLOOM, "run", "fade", "--engine", "inline", "--device", "cpu"]
        subprocess.run(rerun, env=environment(folder), stderr=subprocess.DEVNULL, check=True)
        row("all reused: `fabloom run fade --engine inline`", 1.0, lambda: cpu_seconds(rerun, folder, repeats, toy=True))
        direct = statistics.median(chain(steps, "direct", folder)[0] for _ in range(3))
        inline = [chain(steps, "inline", folder) for _ in range(3)]
        cpu, wall = (statistics.median(values) for values in zip(*inline, strict=True))
        row("a step's own code, called directly", None, lambda: direct / steps, "CPU s a step")
        row("what the inline engine adds: plan, lock, hashes, commit", 0.3, lambda: (cpu - direct) / steps, "CPU s a step")
        if with_prefect:
            few, many = chain(2, "prefect", folder), chain(steps, "prefect", folder)
            row("what Prefect adds to a run: server, flow, step server", None, lambda: few[0] - 2 * cpu / steps)
            row("what Prefect adds to a run, wall", None, lambda: few[1] - 2 * wall / steps, "s")
            row("what Prefect adds to a step", None, lambda: (many[0] - few[0] - cpu) / (steps - 2), "CPU s a step")
            row("what Prefect adds to a step, wall", None, lambda: (many[1] - few[1] - wall) / (steps - 2), "s a step")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--no-prefect", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rows = measure(given.repeats, given.steps, not given.no_prefect)
    missed = [r for r in rows if r["target"] is not None and r["measured"] > r["target"]]
    if given.json:
        print(json.dumps(rows, indent=2))
    else:
        versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("torch", "zarr", "prefect", "typer", "pydantic"))
        print(f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {versions}\n")
        print("| what | target | measured | |\n|---|---|---|---|")
        for r in rows:
            verdict = "" if r["target"] is None else "missed" if r in missed else "met"
            target = "" if r["target"] is None else f"<= {r['target']}"
            print(f"| {r['what']} | {target} | {r['measured']} {r['unit']} | {verdict} |")
    sys.exit(bool(missed))


if __name__ == "__main__":
    main()
