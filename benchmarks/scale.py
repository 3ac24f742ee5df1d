"""What size costs: CPU seconds of long pipelines, large pages, models of many tensors, large sets and folders of many files.

    python benchmarks/scale.py [--repeats 5] [--only WORD] [--json]
    python benchmarks/scale.py --slopes [artifacts promotions rows steps workers bucket] [--largest N] [--repeats 5] [--json]
                               [--drawing docs/drawings/scale.svg]

With --slopes it measures how costs grow: artifacts, promotions and keys of a bucket (moto on loopback) from 10 to 10,000, rows to
1,000,000, steps to 10,000, workers from 1 to 4; prints tables with the exponents of the growth and what they say for larger sizes
(docs/scale.md); --largest cuts all of them. Each subject runs in one process, which the sizes share.

Each case runs in a process of its own, with one thread and after the imports and the registry were loaded; CPU seconds (user and system)
of the median run count. On a machine with other work CPU seconds rise too, by a third and more: the ratio of two runs taken one after
the other says more than either.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

STEPS = ({"task": "line-pair.simulate"}, {"task": "images.augment", "inputs": {"images": "s0"}})


def spent() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def timed(run: Callable[[], Any]) -> float:
    began = spent()
    run()
    return spent() - began


def planned(steps: int, folder: Path) -> float:
    """Reading, checking and planning a YAML chain in which every second step also waits for the one before it."""
    import fabloom.registry
    from fabloom.pipeline import Pipeline
    from fabloom.plan import make_plan

    registry = fabloom.registry.Registry.load()
    lines = ["name: chain", "steps:", "  s0: {task: line-pair.simulate}"]
    lines += [f"  s{i}: {{task: images.augment, inputs: {{images: s{i - 1 if i % 2 else 0}}}, seed: {i}}}" for i in range(1, steps)]
    file = folder / "chain.yaml"
    file.write_text("\n".join(lines))
    store = registry.open_store(str(folder / "store"))
    for step in ("line-pair.simulate", "images.augment"):
        registry.task(step)
    return timed(lambda: make_plan(Pipeline.load(file).override(), registry, store))


def drawn(steps: int, folder: Path) -> float:
    """The section of the page with the picture and the table of a run whose steps share one input."""
    import fabloom.registry
    from fabloom.flows.report.page import Page
    from fabloom.method import StepResult
    from fabloom.pipeline import Pipeline
    from fabloom.plan import make_plan

    registry = fabloom.registry.Registry.load()
    store = registry.open_store(str(folder / "store"))
    content = {f"s{i}": {**STEPS[i > 0], "seed": i} for i in range(steps)}
    plan = make_plan(Pipeline.parse({"name": "wide", "steps": content}), registry, store)
    page = Page(plan, [StepResult.of(step, "skipped") for step in plan.steps], store)
    return timed(page.what_ran)


def written(folder: Path, tensors: int) -> tuple[Any, float]:
    """A committed model, and what writing and committing it took."""
    import torch

    import fabloom
    from fabloom import Context, Model

    torch.set_num_threads(1)
    store = fabloom.open_store(folder / "store")
    shapes = [(64,), (64, 64), (32, 16, 3, 3), ()]
    state = {f"block.{i}.weight": torch.randn(shapes[i % 4], generator=torch.Generator().manual_seed(i)) for i in range(tensors)}
    few = Context(staging=store.stage("0" * 40), seed=0, workdir=store.work("0" * 40))
    Model.write(few, dict(list(state.items())[:4]), {})  # the imports

    def write() -> None:
        context = Context(staging=store.stage("1" * 40), seed=0, workdir=store.work("1" * 40))
        Model.write(context, state, {})
        context.staging.commit(store.folder("1" * 40), {"kind": "Model", "preimage": {"inputs": {}}})

    took = timed(write)
    return store.get("1" * 40), took


def committed(folder: Path) -> float:
    return written(folder, 1600)[1]


def state(folder: Path) -> float:
    model, _ = written(folder, 1600)
    return timed(model.state)


PEAK = """
import resource, sys
import numpy as np
import fabloom
from fabloom import Context, ImageSet

count, block = int(sys.argv[1]), 256
batches = (np.full((block, 1, 128, 128), number % 256, np.uint8) for number in range(count // block))
store = fabloom.open_store(sys.argv[2])
context = Context(staging=store.stage("0" * 40), seed=0, workdir=store.work("0" * 40))
ImageSet.write(context, batches, **({"count": count} if sys.argv[3] == "count" else {}))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def peak(folder: Path, how: str) -> float:
    """MiB above a control that a set of 192 MiB takes, as a share of the set."""

    def mib(count: int, told: str) -> float:
        command = [sys.executable, "-c", PEAK, str(count), tempfile.mkdtemp(dir=folder), told]
        return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    return (mib(12288, how) - mib(256, "")) / 192


def row(folder: Path, rows: int) -> float:
    """Microseconds a row of 4,000 random rows of a set of 8 x 8 images, one row at a time, after every shard was used once."""
    import numpy as np

    import fabloom
    from fabloom import Context, ImageSet

    store = fabloom.open_store(folder / "store")
    context = Context(staging=store.stage("0" * 40), seed=0, workdir=store.work("0" * 40))
    pixels = np.random.default_rng(0).integers(0, 255, (rows, 1, 8, 8)).astype(np.uint8)
    images = ImageSet.write(context, pixels).images
    images[np.arange(0, rows, 512)]
    wanted = np.random.default_rng(1).integers(0, rows, 4000).tolist()
    return timed(lambda: [images[index] for index in wanted]) / len(wanted) * 1e6


def loaded(folder: Path, again: bool) -> float:
    """`images.load` of 10,000 PNGs of 32 x 32; `again`: the same when it is committed."""
    import gc

    import numpy as np
    import tifffile  # noqa: F401  what the first step would import
    import torch
    import zarr  # noqa: F401
    from PIL import Image

    import fabloom
    import fabloom.registry

    torch.set_num_threads(1)
    (folder / "images").mkdir()
    draw = np.random.default_rng(0)
    for index in range(10_000):
        Image.fromarray(draw.integers(0, 255, (32, 32), dtype=np.uint8)).save(folder / "images" / f"{index:05}.png")
    registry = fabloom.registry.Registry.load()
    pipeline = {"name": "load", "steps": {"images": {"task": "images.load", "params": {"path": str(folder / "images")}}}}

    def run() -> None:
        assert fabloom.run(pipeline, store=folder / "store", device="cpu", registry=registry).exit_code == 0

    gc.freeze()  # as the server does from which steps are forked
    first = timed(run)
    return timed(run) if again else first


CASES: dict[str, tuple[str, float, str, Callable[[Path], float]]] = {
    "plan-1000": ("plan 1,000 steps, YAML and checks included", 0.3, "CPU s", lambda f: planned(1000, f)),
    "plan-10000": ("plan 10,000 steps", 3.0, "CPU s", lambda f: planned(10_000, f)),
    "page-1000": ("picture and table of 1,000 steps on the page", 1.0, "CPU s", lambda f: drawn(1000, f)),
    "state": ("`Model.state()`, 1,600 tensors", 0.5, "CPU s", state),
    "commit": ("write and commit 1,600 tensors", 3.0, "CPU s", committed),
    "peak-count": ("peak of `ImageSet.write`, 192 MiB, with `count`", 1.2 + 64 / 192, "times the set", lambda f: peak(f, "count")),
    "peak-held": ("the same without `count`", 1.2 + 64 / 192, "times the set", lambda f: peak(f, "")),
    "row-1000": ("a random row of 1,000", float("inf"), "us", lambda f: row(f, 1000)),
    "row-100000": ("a random row of 100,000", float("inf"), "us", lambda f: row(f, 100_000)),
    "load": ("`images.load` of 10,000 PNGs of 32 x 32", 3.0, "CPU s", lambda f: loaded(f, again=False)),
    "load-again": ("the same, committed before", 0.5, "CPU s", lambda f: loaded(f, again=True)),
}  # fmt: skip


SLOPES = {"artifacts": 10_000, "promotions": 10_000, "rows": 1_000_000, "steps": 10_000, "workers": 4, "bucket": 10_000}
"""What grows, and how far."""


def grown(part: str, folder: Path, largest: int, rounds: int) -> dict[str, dict[int, float]]:
    """The curves of one subject, in this process."""
    from growing import rows, steps, stores

    homes: dict[str, Callable[..., Any]] = {
        "artifacts": stores.artifacts, "promotions": stores.promotions, "rows": rows.rows, "steps": steps.steps,
        "workers": steps.workers, "bucket": stores.bucket,
    }  # fmt: skip
    found: dict[str, dict[int, float]] = homes[part](folder, min(largest, SLOPES[part]), rounds)
    return found


def slopes(parts: list[str], largest: int, rounds: int) -> dict[str, dict[int, float]]:
    """The curves of all subjects, each from a process of its own."""
    found: dict[str, dict[int, float]] = {}
    for part in parts:
        with tempfile.TemporaryDirectory(prefix="fabloom-scale-") as folder:
            command = [sys.executable, __file__, "--case", part, "--folder", folder, "--largest", str(largest), "--repeats", str(rounds)]
            before = os.times()
            done = subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True)
            after = os.times()
        curves = json.loads(done.stdout.splitlines()[-1])
        found |= {name: {int(size): cost for size, cost in points.items()} for name, points in curves.items()}
        took = after.children_user + after.children_system - before.children_user - before.children_system
        print(f"{part}: {took:.0f} CPU s in all", file=sys.stderr)
    return found


def tell_slopes(given: argparse.Namespace) -> None:
    """Measure, print, draw."""
    from growing.curves import drawing, exponent, tables, tail

    measured = slopes(given.slopes or list(SLOPES), given.largest, given.repeats)
    if given.drawing:
        given.drawing.write_text(drawing(measured))
    if given.json:
        rounded = {name: {"seconds": points, "exponent": exponent(points), "tail": tail(points)} for name, points in measured.items()}
        print(json.dumps(rounded, indent=1))
        return
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print("\n\n".join(tables(measured)))


ENVIRONMENT = {**os.environ, "FABLOOM_THREADS": "1", "OMP_NUM_THREADS": "1"}


def measure(name: str, repeats: int) -> dict[str, Any]:
    """A row of the table: the median of the processes that ran one case."""
    taken = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory(prefix="fabloom-scale-") as folder:
            command = [sys.executable, __file__, "--case", name, "--folder", folder]
            taken.append(float(subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True).stdout.split()[-1]))
    what, target, unit, _ = CASES[name]
    print(f"{what}: {statistics.median(taken):.3f} {unit}", file=sys.stderr)
    return {"case": name, "what": what, "target": target, "measured": round(statistics.median(taken), 3), "unit": unit}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", default="", help="cases whose name holds this word")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--slopes", nargs="*", choices=SLOPES, metavar="SUBJECT", help=f"how costs grow: {', '.join(SLOPES)}, or all")
    parser.add_argument("--largest", type=int, default=10**9, metavar="N", help="with --slopes: no size above N")
    parser.add_argument("--drawing", type=Path, metavar="FILE", help="with --slopes: draw the curves")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.case in SLOPES:
        print(json.dumps(grown(given.case, given.folder, given.largest, given.repeats)))
        return
    if given.slopes is not None:
        tell_slopes(given)
        return
    if given.case:
        print(CASES[given.case][3](given.folder))
        return
    began = time.monotonic()
    rows = [measure(name, given.repeats) for name in CASES if given.only in name]
    if given.json:
        print(json.dumps([{**r, "target": None if r["target"] == float("inf") else r["target"]} for r in rows], indent=2))
        return
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {time.monotonic() - began:.0f} s in all\n")
    print("| what | target | measured | |\n|---|---|---|---|")
    for r in rows:
        target, verdict = (
            ("", "") if r["target"] == float("inf") else (f"<= {r['target']:.3g}", "met" if r["measured"] <= r["target"] else "missed")
        )
        print(f"| {r['what']} | {target} | {r['measured']} {r['unit']} | {verdict} |")


if __name__ == "__main__":
    main()
