"""What the kit does with a store under test: keys, pictures, and a commit as an engine makes one."""

from __future__ import annotations

from typing import Any

import numpy as np

from fabloom.kinds import Artifact
from fabloom.kinds.store import Store
from fabloom.method import Context
from fabloom.planning.keys import artifact_key, preimage

A, B, C = ("a" * 40, "b" * 40, "c" * 40)


def ignore(who: str) -> None:
    """A waiting that nobody is told of."""


def never() -> bool:
    """A wait that is not ended."""
    return False


def pictures(count: int, seed: int = 0) -> Any:
    """uint8 [count, 1, 6, 7]."""
    return np.random.default_rng(seed).integers(0, 256, (count, 1, 6, 7)).astype(np.uint8)


def asked(name: str, inputs: dict[str, Any] | None = None) -> str:
    """The key of the kit's task `name`."""
    return artifact_key(preimage(f"kit.{name}", 1, {}, 0, inputs or {}))


def facts(name: str, kind: str, inputs: dict[str, Any] | None = None) -> dict[str, Any]:
    """What an engine says of an artifact at its commit."""
    return {
        "kind": kind, "preimage": preimage(f"kit.{name}", 1, {}, 0, inputs or {}), "source": "",
        "plugin": {"distribution": "kit", "version": "0"}, "made_with": {}, "device": "cpu", "threads": 1,
        "created": "2020-01-01T00:00:00Z", "seconds": 0.0, "curves": {},
    }  # fmt: skip


def commit(store: Store, name: str, write: Any, inputs: dict[str, Any] | None = None) -> Artifact:
    """Commit what `write(ctx)` writes and read it back."""
    key = asked(name, inputs)
    with store.lock(key, ignore, never) as held:
        assert held
        staged = store.stage(key)
        made = write(Context(staging=staged, seed=0, workdir=store.work(key)))
        store.commit(staged, facts(name, made.kind, inputs))
    return store.get(key)
