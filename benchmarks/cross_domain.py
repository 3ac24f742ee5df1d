"""Defects located by knowing only which images have one: icddm, in latents too, its one-step student, controls and cheap rivals, by seed.

    python benchmarks/cross_domain.py STORE [--seeds 7 8 9] [--data plain rough large wafers faint] [--steps 2500] [--count 4000]
                                      [--controls] [--student] [--latents] [--pairs]

Simulated SEM images of lines, 32 x 32, `--count` to learn from and 200 test images of another seed. `plain`: one pitch, three kinds of
defect, little shot noise; `rough`: the defaults of sem-etch, where pitch and width change from image to image and five kinds of defect
are fainter; `large`: 64 x 64, one pitch of 16, else as plain, where `--latents` have a quarter of the pixels' work.
Simulated wafer maps, 32 x 32, as many, and 400 test maps. `wafers`: the defaults of wafer-map, tested on those and on small patterns alone
(Loc, Scratch, Edge-Loc); `faint`: small patterns of few fails on wafers of many.
Prints a row for each entry: pixel AP, AUPRO, Dice at the threshold that no label chose, image AUROC, defects found at 1 % alarms; CPU
seconds go to stderr. `--controls` adds a model of shuffled domains and an untrained one. The store is resumable.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
from dataclasses import dataclass, field
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
SEM = {"size": 32, "patterns": ["lines"], "turned": False}
LARGE = {"size": 64, "pitch": [16, 16]}
SMALL = {"patterns": ["Loc", "Scratch", "Edge-Loc"]}
FAINT = {**SMALL, "fail_high": 0.15, "density_low": 0.3, "density_high": 0.6}


@dataclass(frozen=True)
class Data:
    """Parameters of what is learned and of each test set, what is given of an image, and how a difference becomes a map."""

    task: str
    learned: dict[str, Any]
    tests: dict[str, dict[str, Any]]
    count: int = 200
    given: dict[str, int] = field(default_factory=dict)
    map: dict[str, Any] = field(default_factory=dict)


WAFERS: dict[str, Any] = {"count": 400, "given": {"given": 1}, "map": {"smooth": 0.7, "min_area": 2}}
DATA = {
    "plain": Data("sem-etch.simulate", SEM | PLAIN, {"plain": SEM | PLAIN}),
    "rough": Data("sem-etch.simulate", SEM, {"rough": SEM}),
    "large": Data("sem-etch.simulate", SEM | PLAIN | LARGE, {"large": SEM | PLAIN | LARGE}),
    "wafers": Data("wafer-map.simulate", {}, {"wafers": {}, "small patterns": SMALL}, **WAFERS),
    "faint": Data("wafer-map.simulate", FAINT, {"faint": FAINT}, **WAFERS),
}
BLURRED = {"against": "reconstruction"}
"""Of latents, whose autoencoder blurs: its blur is then in both."""
PAIRED = 1000
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

    @task(version=1)
    def masks(self, ctx: Context, params: NoParams, *, images: ImageSet) -> ImageSet:
        """The same images with each other's masks."""
        assert images.masks is not None
        order = np.random.default_rng(ctx.seed).permutation(len(images))
        return ImageSet.write(ctx, np.asarray(images.images), masks=np.asarray(images.masks)[order])


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

    def run(self, name: str, params: dict[str, Any] | None = None, *, later: int = 0, **inputs: Any) -> Any:
        """A task with this seed, or one `later`."""
        method, _, which = name.partition(".")
        began = spent()
        made = run_task(self.store, self.methods.get(method) or OWN[method], which, params, seed=self.seed + later, inputs=inputs)
        print(f"  {name} {params or ''}: {spent() - began:.0f} CPU s", file=sys.stderr, flush=True)
        return made


def measured(bench: Bench, asked: argparse.Namespace, data: Data) -> None:
    """All entries on one kind of data and one seed."""
    images = bench.run(data.task, {"count": asked.count, **data.learned})
    models = {"icddm": bench.run("icddm.train", {"steps": asked.steps, **data.given}, images=images)}
    if asked.controls:
        blind = bench.run("shuffled.shuffle", images=images)
        for name, told, steps in (("shuffled domains", blind, asked.steps), ("untrained", images, 0)):
            models[name] = bench.run("icddm.train", {"steps": steps, **data.given}, images=told)
    if asked.latents:
        latents = bench.run("autoencoder.train", images=images)
        models["cdldm"] = bench.run("icddm.train", {"steps": asked.steps}, images=images, autoencoder=latents)
    student = taught(bench, images, models["icddm"]) if asked.student else None
    bank = bench.run("memory-bank.fit", images=images)
    for name, params in data.tests.items():
        test = bench.run(data.task, {"count": data.count, **params}, later=1000)
        maps = {
            each: bench.run("icddm.detect", {**data.map, **(BLURRED if each == "cdldm" else {})}, images=test, model=model)
            for each, model in models.items()
        }
        maps["random noise (AnoDDPM)"] = bench.run("icddm.detect", {"noise": "random", **data.map}, images=test, model=models["icddm"])
        if student is not None:
            maps["kdcddm student"] = bench.run("kdcddm.detect", data.map, images=test, model=student)
            clock = bench.run("clock.ratio", images=test, teacher=models["icddm"], student=student)
            print(f"  student: {student.config['held_out']}, CPU seconds {clock.metrics}", file=sys.stderr)
        maps["memory-bank"] = bench.run("memory-bank.segment", images=test, model=bank)
        maps["nearest clean image"] = bench.run("score-maps.difference", images=test, clean=images)
        if asked.pairs:
            maps |= segmented(bench, data, test, models["icddm"])
        if data.given:
            maps["density of fails"] = bench.run("score-maps.density", data.given, images=test)
        judged(bench, name, test, maps)


def taught(bench: Bench, images: ImageSet, teacher: Model) -> Model:
    """A student of what its teacher says of the images."""
    student: Model = bench.run("kdcddm.distill", teacher=teacher, offline=bench.run("kdcddm.record", images=images, teacher=teacher))
    return student


def segmented(bench: Bench, data: Data, test: ImageSet, model: Model) -> dict[str, ImageSet]:
    """Maps of U-Nets that learned, equally long, from twins of images that no model has met, from their true masks, and from wrong ones."""
    images = bench.run(data.task, {"count": PAIRED, **data.learned}, later=2000)
    pairs = bench.run("icddm.pair", data.map, images=images, model=model)
    print(f"  pairs: {len(pairs)} of {PAIRED} images", file=sys.stderr)
    learned = {"pairs": pairs, "true masks": images, "pairs with each other's masks": bench.run("shuffled.masks", images=pairs)}
    return {
        f"U-Net on {name}": bench.run("unet.segment", images=test, model=bench.run("unet.train", {"repeats": 1}, images=each))
        for name, each in learned.items()
    }


def judged(bench: Bench, kind: str, test: ImageSet, maps: dict[str, ImageSet]) -> None:
    """A row for each entry, and one for the mean brightness of an image, which of wafer maps is the share of failing dies."""
    names, sets = {"entries": list(maps)}, list(maps.values())
    report = bench.run("score-maps.evaluate", names, images=test, maps=sets)
    ranks = bench.run("score-maps.rank", names, images=test, maps=sets)
    for name in (*maps, "constant", "mean brightness"):
        values = [report.metrics.get(name, ranks.metrics.get(name, {})).get(score) for score in SHOWN]
        told = ["" if value is None else f"{float(getattr(value, 'value', value)):.3f}" for value in values]
        print(f"| {kind} | {bench.seed} | {name} | {' | '.join(told)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    parser.add_argument("--data", nargs="+", default=["plain", "rough"], choices=list(DATA))
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--count", type=int, default=4000)
    parser.add_argument("--controls", action="store_true")
    parser.add_argument("--student", action="store_true")
    parser.add_argument("--latents", action="store_true")
    parser.add_argument("--pairs", action="store_true")
    asked = parser.parse_args()
    print(f"| data | seed | maps | {' | '.join(SHOWN)} |\n|{'---|' * (3 + len(SHOWN))}")
    store = fabloom.open_store(asked.store)
    for kind in asked.data:
        for seed in asked.seeds:
            measured(Bench(store, seed), asked, DATA[kind])


if __name__ == "__main__":
    main()
