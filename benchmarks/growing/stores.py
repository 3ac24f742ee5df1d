"""A store that grows: artifacts in a folder, promotions in the log of a ref, artifacts in a bucket on loopback."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .curves import Measured, median, sizes

LINE = 5
"""Artifacts that are made one from the other; of every such line the last is what a ref once pointed at, for one line in `LINES`."""
LINES = 10


def small(store: Any, n: int, above: str) -> str:
    """Commit four images of 8 x 8, made from `above` where that is a key."""
    import numpy as np

    from fabloom.kinds import ImageSet
    from fabloom.method import Context
    from fabloom.planning.keys import artifact_key, preimage

    asked = preimage("grow.make", 1, {"n": n}, 0, {"images": above} if above else {})
    key = artifact_key(asked)
    staged = store.stage(key)
    ImageSet.write(Context(staging=staged, seed=0, workdir=store.work(key)), np.full((4, 1, 8, 8), n % 256, np.uint8))
    store.commit(staged, {"key": key, "kind": "ImageSet", "preimage": asked, "created": "", "seconds": 0.0})
    return key


class Growing:
    """Commits artifacts up to a number, in lines of `LINE`."""

    def __init__(self, store: Any) -> None:
        self.store = store
        self.keys: list[str] = []

    def to(self, size: int) -> None:
        """Fill up."""
        while len(self.keys) < size:
            above = self.keys[-1] if len(self.keys) % LINE else ""
            self.keys.append(small(self.store, len(self.keys), above))
            if len(self.keys) % (LINE * LINES) == 0:
                self.store.refs.set(f"line{len(self.keys) // 1000}/champion", self.keys[-1])

    def one_more(self) -> None:
        """A commit that is measured."""
        self.to(len(self.keys) + 1)


def artifacts(folder: Path, largest: int, rounds: int) -> Measured:
    """What a folder's store costs at each size."""
    import fabloom.registry
    from fabloom.kinds.survey import manifests
    from fabloom.pipeline import Pipeline
    from fabloom.plan import make_plan

    registry = fabloom.registry.Registry.load()
    store: Any = registry.open_store(str(folder / "store"))
    growing, found, chance = Growing(store), Measured(), random.Random(0)
    growing.to(2)  # the imports
    task = {"task": "line-pair.simulate"}
    steps = {f"s{i}": {**task, "seed": i} for i in range(100)}

    def plan() -> None:
        made = make_plan(Pipeline.parse({"name": "grow", "steps": steps}), registry, store)
        assert not any(store.has(step.key) for step in made.steps)

    def note(name: str, size: int, run: Callable[[], Any], *, once: bool = False) -> None:
        found.setdefault(name, {})[size] = median(run, rounds, once=once)

    plan()
    for size in sizes(largest):
        growing.to(size)
        note("keys", size, lambda: list(store.keys()))
        note("listing", size, lambda: [dict(m)["kind"] for _, m in manifests(store, store.keys())])
        note("unreferenced", size, lambda: store.upkeep.unreferenced(0.0))
        note("verify", size, store.upkeep.verify)
        note("has", size, lambda: store.has(chance.choice(growing.keys)))
        note("resolve", size, lambda: store.resolve(chance.choice(growing.keys)[:12]))
        note("plan of 100", size, plan)
        note("commit", size, growing.one_more)
    return found


def promotions(folder: Path, largest: int, rounds: int) -> Measured:
    """What a ref costs whose log has so many entries. The log is written as a whole: one by one would cost the square of it."""
    from fabloom.kinds.store import RefEntry
    from fabloom.storage.backends.local import LocalStore

    store, found = LocalStore(folder / "store"), Measured()
    why = "decision 0123456789abcdef0123456789abcdef01234567: iou_defect 0.03 [0.02, 0.04] lies above 0.01 with its whole interval"
    for size in sizes(largest):
        name, turn = f"line{size}/champion", iter(range(10**9))
        log = [RefEntry(n, f"{n % 97:040x}", time.strftime("%Y-%m-%dT%H:%M:%SZ"), "somebody", why) for n in range(1, size + 1)]
        store.refs.write(name, log)
        found.setdefault("ref read", {})[size] = median(lambda name=name: store.refs.get(name), rounds)
        moved = lambda name=name, turn=turn: store.refs.set(name, f"{next(turn) % 89 + 97:040x}", why=why)  # noqa: E731
        found.setdefault("ref set", {})[size] = median(moved, rounds)
    return found


def bucket(folder: Path, largest: int, rounds: int) -> Measured:
    """What a store in a bucket costs on this side; the server's seconds are those of another process."""
    from object_store import s3

    from fabloom.storage.backends.objects.store import ObjectStore

    found, made, chance = Measured(), 0, random.Random(0)
    with s3() as fill_many:
        store: Any = ObjectStore("s3://lab/many", work=folder / "work")
        small(store, 10**9, "")  # the imports and the connection
        turn = iter(range(10**6))
        for size in sizes(largest):
            fill_many(size - made)
            made = size
            keys = list(store.keys())
            for name, run in (
                ("bucket keys", lambda: list(store.keys())),
                ("bucket has", lambda keys=keys: store.has(chance.choice(keys))),
                ("bucket resolve", lambda keys=keys: store.resolve(chance.choice(keys)[:12])),
                ("bucket commit", lambda turn=turn: small(store, 10**6 + next(turn), "")),
            ):
                found.setdefault(name, {})[size] = median(run, rounds)
    return found
