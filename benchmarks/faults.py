"""Kill a run, fill the disk or break it before every single call that changes a file, and see whether anything is ever lost.

    python benchmarks/faults.py [--actions kill enospc eio] [--points N] [--engine inline|prefect] [--seed 1] [--json]

One life of a store: a pipeline that trains with a checkpoint at every step and records in row blocks, a recording in two parts that are
made at the same time and joined, promotions, a redo, an artifact that nothing needs, both kinds of gc, and a look with `verify`. It is run
undisturbed once; then again for each of its calls below the store's folder, from an empty store, with one fault before that call
(`syscalls.py`: the kernel asks, so zarr's and torch's writes are in it)

* `kill`    SIGKILL to the process group,
* `enospc`  the disk is full from that call on: whatever makes a file longer or makes a new one fails,
* `eio`     that one call fails with EIO.

After each it must hold that nothing committed is damaged and no promotion that was told done is lost; that what failed says so in an
error of fabloom's own and an exit code, and `verify` tells everything that it left; and that the same life, run again, comes to its end
with the digests of the undisturbed one and leaves nothing behind, no artifact either (a part that a kill kept from being joined).
`--points` spreads so many faults evenly over the calls; without it every call has its turn. With `--engine prefect` the pipeline runs
through Prefect's own server, and the calls of its database (SQLite) are among those that fail.
"""

from __future__ import annotations

import argparse
import errno
import functools
import importlib
import json
import os
import platform
import random
import resource
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from syscalls import GO_ON, KILL, Ending, supervised

INSTALLED = Path(__file__).parents[1] / "tests" / "installed"
PIPELINE: dict[str, Any] = {
    "name": "life",
    "steps": {
        "images": {"task": "fade.make"},
        "model": {"task": "fade.train", "inputs": {"images": "images"}, "params": {"steps": 4}},
        "offline": {"task": "fade.record", "inputs": {"teacher": "model"}, "params": {"count": 20}},
        "report": {"task": "fade.score", "inputs": {"model": "model", "offline": "offline"}},
    },
}
PARTED: dict[str, Any] = {
    "name": "parted",
    "steps": {
        **{name: PIPELINE["steps"][name] for name in ("images", "model")},
        "parted": {"task": "fade.record", "inputs": {"teacher": "model"}, "params": {"count": 40}},
    },
}
SPARE: dict[str, Any] = {"name": "spare", "steps": {"spare": {"task": "fade.make", "params": {"count": 3}}}}
REF, KEPT = "life/champion", "life/parted"
GROWING = {
    "write",
    "pwrite64",
    "writev",
    "pwritev",
    "openat",
    "open",
    "creat",
    "mkdir",
    "mkdirat",
    "fallocate",
    "ftruncate",
    "copy_file_range",
}
"""Calls that a full disk refuses."""
LAZY = ("numpy.ma", "fabloom.flows.report.page", "fabloom.running.execute", "fabloom.storage.commit.staging", "fabloom.storage.verify")
"""Modules that a life imports late."""
ACTIONS = ("kill", "enospc", "eio")
UNEXPECTED = 70
"""Exit code of a life that ended by an exception that is no error of fabloom's or the system's."""


@functools.cache
def plugins() -> Any:
    """What is installed, and the modules that a run imports: loaded before the first fork."""
    import PIL.Image

    from fabloom.registry import Registry

    for module in LAZY:
        importlib.import_module(module)
    PIL.Image.init()
    found = Registry.load()
    found.complete()
    return found


def life(store: Path, told: int, engine: str) -> int:
    """Everything that is done to a store; writes what was acknowledged as JSON lines to the descriptor `told`. The exit code."""
    from fabloom.errors import FabloomError
    from fabloom.flows.run import api
    from fabloom.method import Options
    from fabloom.pipeline import Pipeline
    from fabloom.planning.plan import make_plan
    from fabloom.running.engine import Engine, run_inline
    from fabloom.running.execute import code_of
    from fabloom.running.parts import Crew
    from fabloom.storage import gc
    from fabloom.storage.verify import verify

    def say(**what: Any) -> None:
        os.write(told, json.dumps(what).encode() + b"\n")

    registry = plugins()

    def parted(opened: Any) -> Any:
        """The step that two workers make together."""
        plan = make_plan(Pipeline.parse(PARTED), registry, opened)
        with opened.pinned(plan.keys()):
            made = run_inline(plan, Engine(registry, opened, Options("cpu", 0.0), crew=Crew(2)))[-1]
        if made.exit_code:
            say(failed=[made.error])
            os._exit(made.exit_code)
        return made

    def run(pipeline: dict[str, Any], **more: Any) -> dict[str, Any]:
        options = {"store": store, "device": "cpu", "checkpoint_seconds": 0.0, "registry": registry, "check": False}
        result = api.run(pipeline, **{**options, "engine": "inline", **more})
        if result.exit_code:
            say(failed=[step.error for step in result.steps if step.status == "failed"])
            os._exit(result.exit_code)
        return {step.name: step for step in result.steps}

    try:
        run(SPARE)
        steps = run(PIPELINE, engine=engine)
        opened = api.open_store(store)
        for name in ("images", "report"):
            say(promoted=opened.refs.set(REF, steps[name].key, why="better").key)
        made = parted(opened)
        opened.refs.set(KEPT, made.key)
        steps = run(PIPELINE, redo=["model"])
        gc.collect(opened, 0.0)  # type: ignore[arg-type]
        gc.sweep(opened)  # type: ignore[arg-type]
        health = verify(opened)  # type: ignore[arg-type]
        digests = {name: step.digest for name, step in steps.items()} | {"parted": made.digest}
        say(digests=digests, problems=health.problems, leftovers=health.leftovers, keys=list(opened.keys()))
        return 0
    except (FabloomError, OSError) as error:
        say(failed=[str(error)])
        return code_of(error)
    except BaseException as error:
        say(unexpected=repr(error))
        return UNEXPECTED


@dataclass
class Summary:
    """What the faults did."""

    calls: int = 0
    points: int = 0
    done_by_itself: int = 0
    damaged: int = 0
    other_digests: int = 0
    lost_promotions: int = 0
    hung: int = 0
    unexpected: int = 0
    untold: int = 0
    not_healed: int = 0
    left_behind: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    codes: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        return not self.broken


def live(store: Path, decide: Callable[[int, str, str], int], engine: str) -> tuple[Ending, list[dict[str, Any]]]:
    """One life in a process of its own: how it ended, and what it said."""
    reading, writing = os.pipe()
    try:
        ending = supervised(lambda: life(store, writing, engine), store if engine == "inline" else store.parent, decide)
    finally:
        os.close(writing)
    with os.fdopen(reading) as lines:
        return ending, [json.loads(line) for line in lines]


def fault(action: str, n: int) -> Callable[[int, str, str], int]:
    """What to answer the calls, for a fault before the `n`-th."""

    def decide(index: int, call: str, path: str) -> int:
        if action == "enospc":
            return errno.ENOSPC if index >= n and call in GROWING else GO_ON
        if index != n:
            return GO_ON
        return KILL if action == "kill" else errno.EIO

    return decide


def strays(store: Path, known: set[str]) -> Iterator[str]:
    """Files that belong to no artifact, no ref and no memory: what must be gone after a gc."""
    for path in store.rglob("*"):
        name = path.relative_to(store).as_posix()
        if path.is_file() and not name.startswith(("objects/", "reports/")) and name not in known:
            yield name


def attempt(store: Path, action: str, n: int, wanted: dict[str, Any], known: set[str], summary: Summary, engine: str) -> None:
    """One fault, what it left, and the life that goes on from there."""
    from fabloom.storage.backends.local import LocalStore
    from fabloom.storage.verify import verify

    ending, said = live(store, fault(action, n), engine)
    where = f"{action} at {n} ({ending.faults[0] if ending.faults else 'not reached'})"
    summary.points += 1
    summary.codes[f"{action}: {ending.status}"] += 1

    def broken(kind: str, what: object) -> None:
        setattr(summary, kind, getattr(summary, kind) + 1)
        summary.broken.append(f"{where}: {kind.replace('_', ' ')}: {what}")

    if ending.hung:
        broken("hung", ending.status)
    if any("unexpected" in line for line in said) or ending.status not in (0, 1, 3, -9):
        broken("unexpected", said or ending.status)
    if ending.status == 0:
        summary.done_by_itself += 1
        if said[-1]["digests"] != wanted["digests"]:
            broken("other_digests", said[-1]["digests"])
    if store.is_dir():
        opened = LocalStore(store, read_only=True)
        health = verify(opened)
        if health.problems:
            broken("damaged", health.problems)
        told = [f"{name}/" for name in health.leftovers]
        if untold := sorted(name for name in strays(store, known) if not f"{name}/".startswith(tuple(told))):
            broken("untold", untold)
        promoted = [line["promoted"] for line in said if "promoted" in line]
        log = [entry.key for entry in opened.refs.log(REF)] if REF in opened.refs.names() else []
        if promoted != log[: len(promoted)]:
            broken("lost_promotions", (promoted, log))
    again, said = live(store, lambda index, call, path: GO_ON, engine)
    if again.status != 0 or again.hung:
        broken("not_healed", said)
    elif said[-1]["digests"] != wanted["digests"]:
        broken("other_digests", said[-1]["digests"])
    elif said[-1]["problems"]:
        broken("damaged", said[-1]["problems"])
    elif left := sorted([*strays(store, known), *said[-1]["leftovers"], *(set(said[-1]["keys"]) - set(wanted["keys"]))]):
        broken("left_behind", left)
    shutil.rmtree(store)


def torment(folder: Path, actions: list[str], points: int | None, seed: int, engine: str) -> Summary:
    """Run the undisturbed life, then one for each fault."""
    summary, began, chance = Summary(), time.monotonic(), random.Random(seed)
    store = folder / "store"
    ending, said = live(store, lambda index, call, path: GO_ON, engine)
    if ending.status != 0 or said[-1]["problems"] or said[-1]["leftovers"]:
        raise RuntimeError(f"the undisturbed life failed: {ending}, {said}")
    wanted, summary.calls = said[-1], ending.calls
    known = set(strays(store, set()))
    shutil.rmtree(store)
    reached = ending.calls if engine == "inline" else ending.calls * 9 // 10  # Prefect's own number of calls differs from run to run
    chosen = [(action, n) for action in actions for n in range(1, reached + 1)]
    if points is not None and points < len(chosen):
        width = len(chosen) / points
        chosen = [chosen[int((index + chance.random()) * width)] for index in range(points)]
    for action, n in chosen:
        attempt(store, action, n, wanted, known, summary, engine)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    summary.seconds, summary.cpu_seconds = time.monotonic() - began, sum(one.ru_utime + one.ru_stime for one in used)
    return summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--actions", nargs="+", choices=ACTIONS, default=list(ACTIONS))
    parser.add_argument("--points", type=int, help="faults to try, spread over all calls and actions (default: every call)")
    parser.add_argument("--engine", choices=("inline", "prefect"), default="inline")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    given = parser.parse_args()
    os.environ.update(FABLOOM_THREADS="1", OMP_NUM_THREADS="1", PYTHONPATH=str(INSTALLED))
    sys.path.insert(0, str(INSTALLED))
    import torch._dynamo
    import zarr

    assert torch and zarr and plugins()  # in memory before the first fork
    with tempfile.TemporaryDirectory(prefix="fabloom-faults-") as folder:
        os.environ["PREFECT_HOME"] = str(Path(folder).resolve() / "prefect")
        summary = torment(Path(folder).resolve(), given.actions, given.points, given.seed, given.engine)
    if given.json:
        print(json.dumps({**vars(summary), "sound": summary.sound}))
    else:
        print(f"\n{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, Linux {platform.release()}\n")
        print("| what | count |\n|---|---|")
        for name, value in vars(summary).items():
            shown: Any = ", ".join(f"{k}: {v}" for k, v in sorted(value.items())) if isinstance(value, Counter) else value
            if name != "broken":
                print(f"| {name.replace('_', ' ')} | {round(shown, 1) if isinstance(shown, float) else shown} |")
        print(f"\n{'sound' if summary.sound else 'BROKEN'}")
        print("\n".join(summary.broken[:40]))
    sys.exit(not summary.sound)


if __name__ == "__main__":
    main()
