"""Defects located by knowing only which images have one: icddm, its one-step student, controls and cheap rivals, by seed.

    python benchmarks/cross_domain.py STORE [--seeds 7 8 9] [--data plain rough] [--steps 2500] [--controls] [--student]

Simulated SEM images of lines, 32 x 32, 4000 to learn from and 200 test images of another seed. `plain`: one pitch, three kinds of defect,
little shot noise; `rough`: the defaults of sem-etch, where pitch and width change from image to image and five kinds of defect are fainter.
Prints a row for each entry: pixel AP, AUPRO, Dice at the threshold that no label chose, image AUROC, defects found at 1 % alarms, and
CPU seconds. `--controls` adds a model of shuffled domains and an untrained one. The store is resumable.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
from typing import Any

import numpy as np

import fabloom
from fabloom.kinds import ImageSet, Model, Report
from fabloom.method import Context, Method, task
from fabloom.params import Params
from fabloom.plugins.blocks.domains.coupling import Coupling
from fabloom.plugins.blocks.domains.params import Route
from fabloom.plugins.blocks.domains.translator import CLEAN, DEFECT
from fabloom.plugins.cross_domain.kdcddm.networks import Student
from fabloom.registry import Registry
from fabloom.testing import run_task

PLAIN = {"pitch": [10, 10], "duty": [0.5, 0.5], "strength": [0.8, 1.0], "dose": 1000, "defects": ["bridge", "gap", "particle"]}
DATA: dict[str, dict[str, Any]] = {"plain": PLAIN, "rough": {}}
SHOWN = ("ap", "aupro", "own_dice", "best_dice", "image_auroc", "found")


class NoParams(Params):
    """Nothing to set."""


class Shuffled(Method):
    """The same images with their domains in another order."""

    name = "shuffled"

    @task(version=1)
    def shuffle(self, ctx: Context, params: NoParams, *, images: ImageSet) -> ImageSet:
        """Domains drawn without replacement; masks and labels, which would contradict them, are left out."""
        assert images.domain is not None
        order = np.random.default_rng(ctx.seed).permutation(len(images))
        return ImageSet.write(ctx, np.asarray(images.images), domain=np.asarray(images.domain)[order])


class Clock(Method):
    """CPU seconds of one translation of 64 images, the median of five: the teacher's over the student's, side by side."""

    name = "clock"

    @task(version=1)
    def ratio(self, ctx: Context, params: NoParams, *, images: ImageSet, teacher: Model, student: Model) -> Report:
        """Both are loaded before, and see the same images."""
        ways = {"teacher": Coupling.of(ctx, teacher, Route()), "student": Student.of(ctx, student, "auto")}
        x = ways["teacher"].grey.forward(np.asarray(images.images)[:64]).to(ctx.device)
        each = {}
        for name, way in ways.items():
            taken = []
            for _ in range(5):
                began = spent()
                way.translate(x, DEFECT, [CLEAN])
                taken.append(spent() - began)
            each[name] = statistics.median(taken)
        return Report.write(ctx, {**each, "ratio": each["teacher"] / each["student"]})


def spent() -> float:
    """CPU seconds of this process so far."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


OWN: dict[str, type[Method]] = {"shuffled": Shuffled, "clock": Clock}


class Bench:
    """One store and one seed; every task is timed where it runs."""

    def __init__(self, store: Any, seed: int) -> None:
        self.store, self.seed, self.methods = store, seed, Registry.load().methods

    def run(self, name: str, params: dict[str, Any] | None = None, **inputs: Any) -> Any:
        method, _, which = name.partition(".")
        began = spent()
        made = run_task(self.store, self.methods.get(method) or OWN[method], which, params, seed=self.seed, inputs=inputs)
        print(f"  {name} {params or ''}: {spent() - began:.0f} CPU s", file=sys.stderr, flush=True)
        return made


def measured(bench: Bench, given: argparse.Namespace, kind: str) -> None:
    """All entries on one kind of data and one seed."""
    lines = {"size": 32, "patterns": ["lines"], "turned": False, **DATA[kind]}
    images = bench.run("sem-etch.simulate", {"count": 4000, **lines})
    test = run_task(bench.store, bench.methods["sem-etch"], "simulate", {"count": 200, **lines}, seed=bench.seed + 1000)
    model = bench.run("icddm.train", {"steps": given.steps}, images=images)
    maps = {
        "icddm": bench.run("icddm.detect", images=test, model=model),
        "random noise (AnoDDPM)": bench.run("icddm.detect", {"noise": "random"}, images=test, model=model),
    }
    if given.student:
        offline = bench.run("kdcddm.record", images=images, teacher=model)
        student = bench.run("kdcddm.distill", teacher=model, offline=offline)
        maps["kdcddm student"] = bench.run("kdcddm.detect", images=test, model=student)
        clock = bench.run("clock.ratio", images=test, teacher=model, student=student)
        print(f"  student: {student.config['held_out']}, CPU seconds {clock.metrics}", file=sys.stderr)
    if given.controls:
        blind = bench.run("shuffled.shuffle", images=images)
        for name, told, steps in (("shuffled domains", blind, given.steps), ("untrained", images, 0)):
            maps[name] = bench.run("icddm.detect", images=test, model=bench.run("icddm.train", {"steps": steps}, images=told))
    bank = bench.run("memory-bank.fit", images=images)
    maps["memory-bank"] = bench.run("memory-bank.segment", images=test, model=bank)
    maps["nearest clean image"] = bench.run("score-maps.difference", images=test, clean=images)
    report = bench.run("score-maps.evaluate", {"entries": list(maps)}, images=test, maps=list(maps.values()))
    for name in (*maps, "constant"):
        values = [report.metrics[name].get(score) for score in SHOWN]
        told = ["" if value is None else f"{float(getattr(value, 'value', value)):.3f}" for value in values]
        print(f"| {kind} | {bench.seed} | {name} | {' | '.join(told)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=list(DATA))
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--controls", action="store_true")
    parser.add_argument("--student", action="store_true")
    given = parser.parse_args()
    print(f"| data | seed | maps | {' | '.join(SHOWN)} |\n|{'---|' * (3 + len(SHOWN))}")
    store = fabloom.open_store(given.store)
    for kind in given.data:
        for seed in given.seeds:
            measured(Bench(store, seed), given, kind)


if __name__ == "__main__":
    main()
