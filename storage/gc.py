"""Taking out the rubbish: what dead runs left, and what nothing refers to."""

from __future__ import annotations

import os
import re
import time
from pathlib import Path

from fabloom.regular import clear, is_plain

from .backends.local import LocalStore
from .backends.locks import is_held, is_odd, release, try_lock
from .backends.pins import deciding, living
from .commit.exchange import recover

KEY = re.compile(r"[0-9a-f]{40}")


def leftovers(store: LocalStore) -> list[Path]:
    """Staging, work and lock entries whose lock no living process holds."""
    entries = [path for room in ("staging", "work") for path in sorted((store.root / room).glob("*"))]
    found = [path for path in entries if KEY.search(path.name) or path.is_dir()]
    dead = [path for path in found if not is_held(lock_of(store, path))]
    return dead + [path for path in sorted((store.root / "locks").glob("*")) if not is_held(path)]


def lock_of(store: LocalStore, path: Path) -> Path:
    """The lock of the key that an entry of a store's rooms belongs to; `aside-` and `gone-` before a key say what became of it."""
    key = KEY.search(path.name)
    return store.root / "locks" / f"{key.group() if key else path.name.removesuffix('.lock')}.lock"


def sweep(store: LocalStore) -> tuple[list[Path], int]:
    """Remove leftovers, each while its lock is held, and report pages older than the newest 20. Gives the paths and the bytes freed."""
    removed, freed = [], 0
    for path in leftovers(store):
        lock = lock_of(store, path)
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
            freed += remove(path) if path != lock else 0
        finally:
            release(lock, handle)
        removed.append(path)
    pages = sorted((store.root / "reports").glob("*.html"), key=lambda p: p.lstat().st_mtime) if (store.root / "reports").is_dir() else []
    for page in pages[:-20]:
        freed += remove(page)
        removed.append(page)
    return removed, freed


def collect(store: LocalStore, older_than_days: float) -> tuple[list[str], int]:
    """Remove what is `unreferenced`; no run may say meanwhile what it needs. Gives the keys and the bytes freed."""
    with deciding(store.root / "locks"):
        keys = unreferenced(store, older_than_days)
        return keys, sum(discard(store, key) for key in keys)


def unreferenced(store: LocalStore, older_than_days: float) -> list[str]:
    """Keys that neither a ref nor a living run reaches through lineage, and that were made more than so many days ago."""
    reached: set[str] = set()
    named = (key for name in store.refs.names() for key in store.refs.history(name))
    for key in (*living(store.root / "locks"), *named):
        if key not in reached and store.has(key):
            reached.update(store.lineage(key))
    limit = time.time() - older_than_days * 86400
    return [key for key in store.keys() if key not in reached and _made(store, key) < limit]


def _made(store: LocalStore, key: str) -> float:
    """When an artifact was committed; now, where nobody may look at it."""
    try:
        return store.committed_at(key)
    except OSError:
        return time.time()


def discard(store: LocalStore, key: str) -> int:
    """Remove a committed artifact while its key is held; returns the bytes that were freed, 0 where somebody holds it or it is gone."""
    with store.lock(key, lambda pid: None, lambda: True) as held:
        if not held or not store.has(key):
            return 0
        freed = size(store.folder(key))
        store.set_aside(key)
    return freed


def size(path: Path) -> int:
    """Bytes on this disk of a file, or of all files in a folder; 0 where nothing is (an artifact that only a remote holds)."""
    return sum(p.lstat().st_size for p in [path, *path.rglob("*")] if is_plain(p))


def remove(path: Path) -> int:
    """Delete a file or folder that no run depends on; returns the bytes that were freed."""
    freed = size(path)
    clear(path)
    return freed
