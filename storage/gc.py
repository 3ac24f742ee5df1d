"""Taking out the rubbish: what dead runs left, and what nothing refers to."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from fabloom.errors import FabloomError
from fabloom.locks import is_held, is_odd, release, try_lock
from fabloom.planning.keys import whole_of
from fabloom.regular import clear, is_plain

from .backends.base import BaseStore
from .backends.local import STAMP, LocalStore
from .backends.pins import deciding, living
from .commit.exchange import recover
from .refs import LOCK

KEY = re.compile(r"[0-9a-f]{40}")
OF_A_KEY = re.compile(r"(?:aside-|gone-)?([0-9a-f]{40})(?![0-9a-f])")
"""An entry of staging or work: `aside-` and `gone-` before a key say what became of it. Any other name is that of its lock."""
PAGES = 20
"""Report pages that are kept."""


def leftovers(store: LocalStore) -> list[Path]:
    """Staging, work and lock entries whose lock no living process holds, and files that a killed process did not come to rename."""
    entries = [path for room in ("staging", "work") for path in sorted((store.root / room).glob("*"))]
    found = [path for path in entries if KEY.search(path.name) or path.is_dir()]
    found += [*sorted((store.root / "locks").glob("*")), store.root / "refs" / LOCK, *unnamed(store)]
    dead = [path for path in found if not is_held(lock_of(store, path))]
    # once more: what somebody has just finished is gone by now, and what somebody has just begun is held
    return [path for path in dead if os.path.lexists(path) and not is_held(lock_of(store, path))]


def unnamed(store: LocalStore) -> list[Path]:
    """What `fabloom.durable` writes beside a ref, the stamp, a report page and the memory of sources before it gets its name."""
    beside = [(store.root / "refs").rglob(".*.tmp"), store.root.glob(f".{STAMP}.*.tmp")]
    beside += [(store.root / room).glob(".*.tmp") for room in ("reports", "work")]
    return sorted(path for paths in beside for path in paths if path.is_file())


def lock_of(store: LocalStore, path: Path) -> Path:
    """What a living process holds that is at work on an entry of the store's rooms. A file is its own lock."""
    if path.parent in (store.root / "staging", store.root / "work") and not path.name.startswith("."):
        key = OF_A_KEY.match(path.name)
        return store.root / "locks" / f"{key[1] if key else path.name}.lock"
    return path


def sweep(store: LocalStore) -> tuple[list[Path], int]:
    """Remove leftovers, each while its lock is held, and report pages older than the newest 20. Gives the paths and the bytes freed."""
    removed, freed = [], 0
    for path in leftovers(store):
        lock = lock_of(store, path)
        held = size(path) if path == lock else 0
        if is_odd(lock):
            clear(lock)
        handle = try_lock(lock)
        if handle is None:
            continue
        key = lock.stem
        try:
            recover(store.root / "staging" / key, store.folder(key))  # a commit that died while the old artifact stood aside
            if not os.path.lexists(path):
                continue
            freed += remove(path) if path != lock else held
        finally:
            release(lock, handle)
        removed.append(path)
    for page in old_pages(store):
        freed += remove(page)
        removed.append(page)
    return removed, freed


def old_pages(store: LocalStore) -> list[Path]:
    """Report pages beyond the newest; another `gc` may be taking them away."""
    found = []
    for page in (store.root / "reports").glob("*.html"):
        with contextlib.suppress(FileNotFoundError):
            found.append((page.lstat().st_mtime_ns, page))
    return [page for _, page in sorted(found)[:-PAGES]]


def collect(store: LocalStore, older_than_days: float) -> tuple[list[str], int]:
    """Remove what is `unreferenced`; no run may say meanwhile what it needs. Gives the keys that went and the bytes freed.

    What somebody holds stays, and with it everything that it was made from.
    """
    removed, freed, kept = [], 0, set[str]()
    with deciding(store.root / "locks"):
        for key in users_first(store, unreferenced(store, older_than_days)):
            if key in kept:
                continue
            gone = discard(store, key)
            if gone is not None:
                removed.append(key)
                freed += gone
            elif store.has(key):
                kept.update(store.lineage(key))
    return removed, freed


def users_first(store: BaseStore, keys: Iterable[str]) -> Iterator[str]:
    """The keys, each before what it was made from."""
    made_from = {key: inputs_of(store, key) for key in keys}
    order = TopologicalSorter({key: inputs & made_from.keys() for key, inputs in made_from.items()})
    return reversed(list(order.static_order()))


def inputs_of(store: BaseStore, key: str) -> set[str]:
    """What an artifact was made from; nothing where its manifest cannot be read, since nothing can be made of it either."""
    try:
        return inputs_in(store.manifest(key))
    except (FabloomError, OSError):
        return set()


def inputs_in(manifest: Mapping[str, Any]) -> set[str]:
    """What an artifact was made from, by its manifest."""
    values = manifest["preimage"].get("inputs", {}).values()
    return {one for value in values for one in (value if isinstance(value, list) else [value])}


def unreferenced(store: LocalStore, older_than_days: float) -> list[str]:
    """Keys that neither a ref nor a living run reaches through lineage, and that were made more than so many days ago."""
    pinned = living(store.root / "locks")
    wanted = pinned.union(*(store.refs.history(name) for name in store.refs.names()))
    reached: set[str] = set()
    for key in wanted:
        if key not in reached and store.has(key):
            reached.update(store.lineage(key))
    reached |= wanted  # what is not there yet may be committed before the keys are listed
    limit = time.time() - older_than_days * 86400
    return [key for key in store.keys() if key not in reached and _made(store, key) < limit and not is_awaited(store, key, pinned)]


def is_awaited(store: BaseStore, key: str, pinned: set[str]) -> bool:
    """Whether an artifact is a part of one that a living run is making of parts."""
    try:
        return bool(pinned) and whole_of(store.manifest(key)["preimage"]) in pinned
    except (FabloomError, OSError):
        return False


def _made(store: LocalStore, key: str) -> float:
    """When an artifact was committed; now, where nobody may look at it."""
    try:
        return store.committed_at(key)
    except OSError:
        return time.time()


def discard(store: LocalStore, key: str) -> int | None:
    """Remove a committed artifact while its key is held; the bytes that were freed, or None where somebody holds it or it is gone."""
    with store.lock(key, lambda pid: None, lambda: True) as held:
        if not held or not store.has(key):
            return None
        freed = size(store.folder(key))
        store.set_aside(key)
    return freed


def size(path: Path) -> int:
    """Bytes on this disk of a file, or of all files in a folder; 0 where nothing is (an artifact that only a remote holds)."""
    total = 0
    for found in [path, *path.rglob("*")]:
        with contextlib.suppress(FileNotFoundError):  # somebody else was faster
            total += found.lstat().st_size if is_plain(found) else 0
    return total


def remove(path: Path) -> int:
    """Delete a file or folder that no run depends on; returns the bytes that were freed."""
    freed = size(path)
    clear(path)
    return freed
