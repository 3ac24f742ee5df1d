"""Many at once in one store: promotions that meet, and runs beside collectors, verifiers and readers. Does anything get lost?

    python benchmarks/crowd.py [--workers 8] [--promotions 50] [--runs 50] [--seed 1] [--json]

Promotions: so many workers promote so many keys each to one ref, as processes, as threads, with equal process ids and times, and as
processes that all have the id 1 (each in a namespace of its own, where that is allowed), and then race for a second ref, all with the same
`expected` in each round. Readers look on. It must hold that

* every promotion is in the log, once, `n` is consecutive, and exactly one worker wins each `expected`,
* a reader never sees a log that is torn or shorter than one before.

Runs: so many workers run pipelines that share keys, half of them with `redo`; two loops collect whatever is unreferenced and sweep, two
verify, two hold pins as a run does and read twice what is there. It must hold that no run, collector, verifier or reader fails, that
every digest is that of an undisturbed run, that nothing pinned is taken away, and that at the end nothing is left over.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import multiprocessing
import os
import platform
import random
import resource
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from fabloom import Context, ImageSet, Method, OfflineData, Params, Report, RowSpec, task
from fabloom.errors import RefMoved
from fabloom.flows.run import api
from fabloom.registry import Origin, Registry
from fabloom.storage import reflog
from fabloom.storage.backends.local import LocalStore
from fabloom.storage.gc import collect, sweep
from fabloom.storage.verify import verify

FORK = multiprocessing.get_context("fork")
HOWS = ("processes", "threads", "equal ids", "id 1 each")
CLONE_NEWPID = 0x20000000
SECONDS = 1200
"""After these a worker hangs."""
Work = Callable[[], Any]


# --------------------------------------------------------------------------------------------------------------------- many workers


class Threads:
    """Workers in this process."""

    event, barrier = staticmethod(threading.Event), staticmethod(threading.Barrier)

    def __init__(self) -> None:
        self._started: list[tuple[threading.Thread, list[Any]]] = []

    def start(self, work: Work) -> None:
        """Begin one."""
        results: list[Any] = []
        thread = threading.Thread(target=lambda: results.append(told(work)), daemon=True)
        thread.start()
        self._started.append((thread, results))

    def results(self) -> list[Any]:
        """What those that were started give, in order, each `{"failed": traceback}` where it raised."""
        started, self._started = self._started, []
        for thread, _ in started:
            thread.join(SECONDS)
        return [found[0] if found else {"failed": "it hangs"} for _, found in started]


class Processes:
    """Workers that are forked, with `alike` each the first process of a namespace of its own."""

    event, barrier = staticmethod(FORK.Event), staticmethod(FORK.Barrier)

    def __init__(self, folder: Path, alike: bool = False) -> None:
        self._folder, self._alike = folder, alike
        self._started: list[tuple[Any, Path]] = []

    def start(self, work: Work) -> None:
        """Begin one."""
        place = self._folder / f"result-{len(self._started)}-{time.monotonic_ns()}.json"
        process = FORK.Process(target=self._run, args=(work, place), daemon=True)
        process.start()
        self._started.append((process, place))

    def _run(self, work: Work, place: Path) -> None:
        if self._alike:
            unshare()
            if child := os.fork():
                os.waitpid(child, 0)
                return
            assert os.getpid() == 1
        place.write_text(json.dumps(told(work)))
        if self._alike:
            os._exit(0)

    def results(self) -> list[Any]:
        """As `Threads.results`."""
        started, self._started = self._started, []
        for process, _ in started:
            process.join(SECONDS)
        return [json.loads(place.read_text()) if place.is_file() else {"failed": "it died or hangs"} for _, place in started]


def told(work: Work) -> Any:
    """What the work gives, or how it failed."""
    try:
        return work()
    except BaseException:
        return {"failed": traceback.format_exc()}


def unshare() -> bool:
    """Let the next child of this process be the first of a new namespace of process ids. False where that is not allowed."""
    return ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWPID) == 0


def may_unshare() -> bool:
    """Whether `unshare` works here, tried by a child."""
    child = os.fork()
    if child == 0:
        os._exit(not unshare())
    return os.waitpid(child, 0)[1] == 0


def failures(results: list[Any]) -> list[str]:
    """Tracebacks of those that failed."""
    return [one["failed"] for one in results if isinstance(one, dict) and "failed" in one]


# ---------------------------------------------------------------------------------------------------------------------- promotions


@contextlib.contextmanager
def equal_ids_and_times() -> Iterator[None]:
    """Every process, also one that is forked meanwhile, believes to be number 7, and that it is always the same second."""
    real, clock = os.getpid, reflog.time
    os.getpid = lambda: 7
    reflog.time = _Stopped()  # type: ignore[assignment]
    try:
        yield
    finally:
        os.getpid, reflog.time = real, clock


class _Stopped:
    gmtime = staticmethod(time.gmtime)

    def strftime(self, form: str, at: Any) -> str:
        return "2020-01-01T00:00:00Z"


def key_of(worker: int, turn: int) -> str:
    """A key that nobody else promotes."""
    return f"{worker:020x}{turn:020x}"


def promote(root: Path, worker: int, each: int, meet: Any) -> dict[str, Any]:
    """Promote `each` keys, then race for as many rounds; what was won."""
    refs = LocalStore(root).refs
    for turn in range(each):
        refs.set("busy", key_of(worker, turn))
    won = []
    for turn in range(each):
        meet.wait(SECONDS)
        seen = refs.get("race")
        meet.wait(SECONDS)  # everybody has seen the same
        with contextlib.suppress(RefMoved):
            refs.set("race", key_of(worker, turn), expected=seen)
            won.append(key_of(worker, turn))
    return {"won": won}


def watch(root: Path, done: Any) -> dict[str, int]:
    """Read the log again and again: how often, and how often it was not what was there before and something behind it."""
    refs, before, looks, wrong = LocalStore(root).refs, [], 0, 0
    while not done.is_set():
        log = refs.log("busy")
        looks += 1
        wrong += log[: len(before)] != before or [entry.n for entry in log] != list(range(1, len(log) + 1))
        before = log
        time.sleep(0.005)
    return {"looks": looks, "wrong": wrong}


def promotions(folder: Path, how: str, workers: int, each: int, readers: int = 2) -> dict[str, Any]:
    """Let them all promote at once, and count."""
    folder.mkdir()
    root = folder / "store"
    store = LocalStore(root)
    for name in ("busy", "race"):
        store.refs.set(name, "f" * 40)
    crew: Any = Threads() if how == "threads" else Processes(folder, how == "id 1 each")
    lookers: Any = Threads() if how == "threads" else Processes(folder)
    meet, done = crew.barrier(workers), crew.event()
    with equal_ids_and_times() if how in ("equal ids", "threads") else contextlib.nullcontext():
        for _ in range(readers):
            lookers.start(lambda: watch(root, done))
        for worker in range(workers):
            crew.start(lambda worker=worker: promote(root, worker, each, meet))
        results = crew.results()
        done.set()
        seen = lookers.results()
    busy, race = store.refs.log("busy"), store.refs.log("race")
    wanted = {key_of(worker, turn) for worker in range(workers) for turn in range(each)}
    keys = [entry.key for entry in busy[1:]]
    won = sorted(key for one in results for key in one.get("won", []))
    return {
        "how": how,
        "promotions": len(wanted),
        "lost": len(wanted - set(keys)),
        "twice": len(keys) - len(set(keys)),
        "not_consecutive": sum(entry.n != n for log in (busy, race) for n, entry in enumerate(log, start=1)),
        "rounds": each,
        "winners": len(won),
        "winners_wrong": sorted(entry.key for entry in race[1:]) != won
        or [entry.expected for entry in race[1:]] != [entry.key for entry in race[:-1]]
        or len(won) != each,
        "looks": sum(one.get("looks", 0) for one in seen),
        "looks_wrong": sum(one.get("wrong", 0) for one in seen),
        "left_over": len(verify(store).leftovers),
        "failed": failures([*results, *seen]),
    }


# ------------------------------------------------------------------------------------------------------------------------------ runs


class CrowdParams(Params):
    count: int = 6
    pause: float = 0.002


class Crowd(Method):
    """Three quick tasks, each a function of its parameters and seed."""

    name = "crowd"
    SPECS: ClassVar[dict[str, RowSpec]] = {"sample_id": RowSpec("int64", compress=False), "r_chunks": RowSpec("int8", (2, 4, 4))}

    @task(version=1)
    def make(self, ctx: Context, params: CrowdParams) -> ImageSet:
        """Random images."""
        time.sleep(params.pause)
        return ImageSet.write(ctx, np.random.default_rng(params.count).integers(0, 255, (params.count, 1, 8, 8)).astype(np.uint8))

    @task(version=1)
    def rows(self, ctx: Context, params: CrowdParams, *, images: ImageSet) -> OfflineData:
        """Rows in blocks of 8, made from the images."""
        writer = OfflineData.writer(ctx, count=4 * params.count, block=8, arrays=self.SPECS)
        shift = int(images.images[:].sum()) % 100
        for start in range(writer.start, 4 * params.count, 8):
            time.sleep(params.pause)
            rows = np.arange(start, min(start + 8, 4 * params.count))
            codes = np.broadcast_to(((rows + shift) % 100)[:, None, None, None], (len(rows), 2, 4, 4))
            writer.append({"sample_id": rows, "r_chunks": codes.astype(np.int8)})
        return OfflineData.finish(ctx, writer, {"T": 10})

    @task(version=1)
    def sums(self, ctx: Context, params: Params, *, images: ImageSet, offline: OfflineData) -> Report:
        """The sums of what there is."""
        codes = np.asarray(offline.array("r_chunks")[...]).astype(int)
        return Report.write(ctx, {"images": float(images.images[:].sum()), "codes": float(codes.sum())})


STEPS = ("images", "offline", "report")
VARIANTS = 3


def pipeline(variant: int) -> dict[str, Any]:
    """All have the images in common, and nothing else."""
    return {
        "name": f"crowd-{variant}",
        "steps": {
            "images": {"task": "crowd.make"},
            "offline": {"task": "crowd.rows", "inputs": {"images": "images"}, "params": {"count": 6 + variant}},
            "report": {"task": "crowd.sums", "inputs": {"images": "images", "offline": "offline"}},
        },
    }


def run(root: Path, variant: int, redo: list[str]) -> api.RunResult:
    """One run of the pipeline, in this process."""
    registry = Registry()
    registry._add_method(Crowd, Origin("crowd", "crowd", "1"))
    return api.run(pipeline(variant), store=LocalStore(root), engine="inline", device="cpu", redo=redo, registry=registry, check=False)


def runs(root: Path, numbers: list[int], seed: int, wanted: list[dict[str, str]]) -> dict[str, Any]:
    """Runs one after another."""
    failed, wrong, made = [], 0, 0
    for number in numbers:
        chance = random.Random(f"{seed} {number}")
        variant = chance.randrange(VARIANTS)
        redo = chance.sample(STEPS, chance.randint(1, 2)) if chance.random() < 0.5 else []
        result = run(root, variant, redo)
        failed += [f"{step.name}: {step.error}" for step in result.steps if step.status not in ("ran", "reused")]
        wrong += {step.name: step.digest for step in result.steps} != wanted[variant] and not result.exit_code
        made += sum(step.status == "ran" for step in result.steps)
    return {"runs": len(numbers), "failed_runs": failed, "wrong_digests": wrong, "steps_made": made}


def clean(root: Path, done: Any) -> dict[str, int]:
    """What `fabloom gc --unreferenced --older-than 0 --yes` does, again and again."""
    store, found = LocalStore(root), {"cleanings": 0, "artifacts_removed": 0, "swept": 0}
    while not done.is_set():
        found["swept"] += len(sweep(store)[0])
        found["artifacts_removed"] += len(collect(store, 0.0)[0])
        found["cleanings"] += 1
        time.sleep(0.005)
    return found


def check(root: Path, done: Any) -> dict[str, Any]:
    """Verify again and again. A file that its maker has not locked yet looks like one that was left; nothing else may."""
    store, found = LocalStore(root), {"verifications": 0, "damaged": [], "told_though_living": [], "unlocked_yet": 0}
    while not done.is_set():
        health = verify(store)
        found["verifications"] += 1
        found["damaged"] += [f"{key}: {problems}" for key, problems in health.problems.items()]
        told = [name for name in health.leftovers if not name.endswith((".lock", ".tmp"))]
        found["told_though_living"] += told
        found["unlocked_yet"] += len(health.leftovers) - len(told)
        time.sleep(0.005)
    return found


def read(root: Path, done: Any, keys: list[str], seed: int) -> dict[str, int]:
    """Pin an artifact as a run does, read it and what it was made from if it is there, and read them again."""
    store, found, chance = LocalStore(root), {"pinned_reads": 0, "taken_in_use": 0}, random.Random(seed)
    while not done.is_set():
        wanted = chance.choice(keys)
        with store.pinned([wanted]):
            present = list(store.lineage(wanted)) if store.has(wanted) else []
            for key in present * 2:
                if not store.has(key):
                    found["taken_in_use"] += 1
                    continue
                artifact: Any = store.get(key)
                for name in store.manifest(key)["arrays"]:
                    artifact.array(name)[...]
                found["pinned_reads"] += 1
                time.sleep(0.001)
        time.sleep(0.02)
    return found


def together(folder: Path, workers: int, count: int, seed: int, loops: int = 2) -> dict[str, Any]:
    """Everybody at once in one store."""
    folder.mkdir()
    root = folder / "store"
    undisturbed = [run(folder / "undisturbed", variant, []) for variant in range(VARIANTS)]
    assert not any(result.exit_code for result in undisturbed)
    wanted = [{step.name: step.digest for step in result.steps} for result in undisturbed]
    keys = sorted({step.key for result in undisturbed for step in result.steps})
    LocalStore(root)
    crew, others = Processes(folder), Processes(folder)
    done = crew.event()
    for number in range(loops):
        others.start(lambda: clean(root, done))
        others.start(lambda: check(root, done))
        others.start(lambda number=number: read(root, done, keys, number))
    for worker in range(workers):
        crew.start(lambda worker=worker: runs(root, list(range(worker, count, workers)), seed, wanted))
    results = crew.results()
    done.set()
    results += others.results()
    total: dict[str, Any] = {"workers": workers}
    for one in results:
        for name, value in one.items():
            if name != "failed":
                total[name] = total.get(name, type(value)()) + value
    store = LocalStore(root)
    health = verify(store)
    total["left_over"] = health.leftovers
    total["damaged"] += [f"{key}: {problems}" for key, problems in health.problems.items()]
    total["failed"] = failures(results)
    return total


# ---------------------------------------------------------------------------------------------------------------------------- all of it

MUST_BE_NONE = (
    "lost", "twice", "not_consecutive", "winners_wrong", "looks_wrong", "left_over", "failed", "failed_runs", "wrong_digests", "damaged",
    "taken_in_use", "told_though_living",
)  # fmt: skip


def faults(found: dict[str, Any]) -> dict[str, Any]:
    """What should not be."""
    return {name: found[name] for name in MUST_BE_NONE if found.get(name)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--promotions", type=int, default=50, help="of each worker")
    parser.add_argument("--runs", type=int, default=50, help="of all workers together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=(*HOWS, "runs"), help="one of the trials")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    given = parser.parse_args()
    os.environ.setdefault("FABLOOM_THREADS", "1")
    found = []
    with tempfile.TemporaryDirectory(prefix="fabloom-crowd-") as folder:
        hows = [how for how in HOWS if given.only in (None, how) and (how != "id 1 each" or may_unshare())]
        found += [promotions(Path(folder) / how, how, given.workers, given.promotions) for how in hows]
        if given.only in (None, "runs"):
            found.append({"how": "runs", **together(Path(folder) / "runs", given.workers, given.runs, given.seed)})
    wrong = [faults(one) for one in found]
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = round(sum(one.ru_utime + one.ru_stime for one in used), 1)
    if given.json:
        print(json.dumps({"trials": found, "cpu_seconds": seconds, "sound": not any(wrong)}))
    else:
        print(
            f"\n{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {seconds} CPU s"
        )
        for one in found:
            print(f"\n| {one['how']} | count |\n|---|---|")
            for name, value in one.items():
                if name != "how":
                    print(f"| {name.replace('_', ' ')} | {len(value) if isinstance(value, list) else int(value)} |")
        for one in filter(None, wrong):
            print(f"\n{json.dumps(one, indent=1)[:4000]}")
        print(f"\n{'BROKEN' if any(wrong) else 'sound'}")
    sys.exit(any(wrong))


if __name__ == "__main__":
    main()
