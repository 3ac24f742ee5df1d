"""Pipelines that grow, and workers: planning, steps that do almost nothing, and what it takes to hand one to a process elsewhere."""

from __future__ import annotations

import gc
import statistics
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from .curves import Measured, median, sizes, spent

TRIVIAL = {"task": "line-pair.simulate", "params": {"count": 1, "size": 16}}
DEAR = 1000
"""Steps that are run; more are planned only, since each is a commit of some ms."""
HANDED = 12
"""Steps that are handed to workers, a round."""


def steps(folder: Path, largest: int, rounds: int) -> Measured:
    """A chain of steps planned; steps that do not need each other run, and run again."""
    from scale import planned

    import fabloom
    import fabloom.registry

    registry, found = fabloom.registry.Registry.load(), Measured()

    def run(count: int, store: Path) -> float:
        content: Any = {"name": "wide", "steps": {f"s{i}": {**TRIVIAL, "seed": i} for i in range(count)}}
        gc.collect()
        began = spent()
        assert fabloom.run(content, store=store, device="cpu", registry=registry).exit_code == 0
        return spent() - began

    run(2, folder / "first")  # the imports
    for size in sizes(largest):
        taken = []
        for n in range(rounds if size < 10_000 else 1):
            place = folder / f"plan{size}-{n}"
            place.mkdir()
            taken.append(planned(size, place))
        found.setdefault("plan", {})[size] = statistics.median(taken)
        if size <= DEAR:
            found.setdefault("run", {})[size] = run(size, folder / f"run{size}")
            again = median(lambda size=size: run(size, folder / f"run{size}"), rounds, once=True)
            found.setdefault("reuse", {})[size] = again
    return found


def workers(folder: Path, largest: int, rounds: int) -> Measured:
    """CPU seconds a step, of this process, the step server, the step's own process and the cluster's, at 1 to 4 workers."""
    from fabloom.running.executors import ProcessExecutor

    found = Measured()
    most = min(4, largest)
    one = ProcessExecutor(PRELOAD)
    try:
        _through(one, folder / "warm", 1)
        for count in range(1, most + 1):
            taken = [_through(one, folder / f"processes{count}-{n}", count) for n in range(rounds)]
            found.setdefault("processes", {})[count] = statistics.median(taken)
    finally:
        one.close()
    for count in (1, 2)[:most]:
        from fabloom.running.executors.dask import DaskExecutor

        cluster = DaskExecutor(count, preload=PRELOAD)
        try:
            _through(cluster, folder / f"warm{count}", count, 4 * count)
            taken = [_through(cluster, folder / f"dask{count}-{n}", count) for n in range(rounds)]
            found.setdefault("dask", {})[count] = statistics.median(taken)
        finally:
            cluster.close()
    return found


PRELOAD = ["numpy", "scipy.fft", "torch"]


def _through(executor: Any, folder: Path, count: int, many: int = HANDED) -> float:
    """CPU seconds a step where `count` are under way at any time."""
    from fabloom.method import Options
    from fabloom.pipeline import Pipeline
    from fabloom.planning.plan import make_plan
    from fabloom.registry import Registry
    from fabloom.running.requests import request_of
    from fabloom.storage.backends.local import LocalStore

    store, registry = LocalStore(folder), Registry.load()
    content = {"name": "wide", "steps": {f"s{i}": {**TRIVIAL, "seed": i} for i in range(many)}}
    plan = make_plan(Pipeline.parse(content), registry, store)
    requests = [request_of(step, store, Options(device="cpu")) for step in plan.steps]
    before = family()
    with ThreadPoolExecutor(count) as lanes:
        results = list(lanes.map(lambda one: executor.submit(one, lambda event: None).result(), requests))
    assert [result.status for result in results] == ["ran"] * many, [result.error for result in results]
    return (family() - before) / many


def family() -> float:
    """CPU seconds of this process, of those that it started, of theirs, and of those of them that ended."""
    import psutil

    total = 0.0
    here = psutil.Process()
    for process in (here, *here.children(recursive=True)):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total
