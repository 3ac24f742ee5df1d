"""The join: from the committed parts of a step to the artifact that it was asked for, and away with the parts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from fabloom.errors import DataError
from fabloom.kinds.store import Store
from fabloom.method import PlannedStep
from fabloom.planning.keys import part_preimage, rows_of

AGREED = ("kind", "source", "plugin", "precision")
"""What parts of one artifact have in common, since it would be in question what came out otherwise."""
TAKEN = (*AGREED, "step", "pipeline", "made_with", "device", "threads")
"""Facts of the first part that are told of the whole."""


def join(step: PlannedStep, store: Store, keys: Sequence[str], *, replace: bool, began: float) -> dict[str, Any]:
    """Commit the artifact of a step, row after row of its parts, and return its manifest. The caller holds the key.

    Raises DataError where a part is missing, or the parts were not made alike.
    """
    manifests = manifests_of(step, store, keys)
    readers = [store.get(key)._reader for key in keys]
    staging: Any = store.stage(step.key)
    staging.join(readers)
    staging.attrs.update(step.spec.method.joined(step, [dict(reader.attrs) for reader in readers]))
    facts = {name: manifests[0][name] for name in TAKEN} | {
        "preimage": dict(step.preimage),
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        **made_apart(manifests, {}, time.monotonic() - began),
    }
    return store.commit(staging, facts, replace=True) if replace else store.commit(staging, facts)


def manifests_of(step: PlannedStep, store: Store, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Those of the parts, checked."""
    missing = [key for key in keys if not store.has(key)]
    if missing:
        raise DataError(f"step '{step.name}': part {missing[0][:12]} was removed before the parts were joined. Run it again.")
    manifests = [store.manifest(key) for key in keys]
    check_alike(step, manifests)
    return manifests


def made_apart(parts: Sequence[dict[str, Any]], curves: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Facts of a whole that the parts know: the time of the longest and of the join, the memory of the largest, the curves of all."""
    if not parts:
        return {}
    return {
        "seconds": round(max(one["seconds"] for one in parts) + seconds, 3),
        "memory": max(one["memory"] for one in parts),
        "curves": {name: points for one in parts for name, points in one["curves"].items()} | curves,
    }


def check_alike(step: PlannedStep, manifests: Sequence[dict[str, Any]]) -> None:
    """Raise DataError for parts that are not this step's rows from the first to the last, or were made by other code or otherwise."""
    at = 0
    for manifest in manifests:
        rows = rows_of(manifest["preimage"])
        if rows is None or rows.start != at or manifest["preimage"] != part_preimage(step.preimage, (rows.start, rows.stop)):
            raise DataError(f"step '{step.name}': {manifest['key'][:12]} is not its part from row {at}")
        at = rows.stop
        for name in AGREED:
            if manifest[name] != manifests[0][name]:
                told = f"{name} {manifests[0][name]} and {manifest[name]}"
                raise DataError(f"step '{step.name}': its parts were made differently ({told}). Run with --redo {step.name}.")


def drop(store: Store, keys: Sequence[str]) -> None:
    """Take the parts out of the store. One that somebody holds is left to `gc`."""
    for key in keys:
        with store.lock(key, lambda who: None, lambda: True) as held:
            if held and store.has(key):
                store.set_aside(key)
