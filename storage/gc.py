"""Taking out the rubbish: what dead runs left, and what nothing refers to."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from .backends.local import LocalStore
from .backends.locks import is_held, release, try_lock


def leftovers(store: LocalStore) -> list[Path]:
    """Staging, work and lock entries whose lock no living process holds."""
    found = [path for room in ("staging", "work") for path in sorted((store.root / room).iterdir()) if path.is_dir()]
    dead = [path for path in found if not is_held(store.root / "locks" / f"{path.name}.lock")]
    return dead + [path for path in sorted((store.root / "locks").iterdir()) if not is_held(path)]


def sweep(store: LocalStore) -> tuple[list[Path], int]:
    """Remove leftovers, each while its lock is held, and report pages older than the newest 20. Gives the paths and the bytes freed."""
    removed, freed = [], 0
    for path in leftovers(store):
        lock = store.root / "locks" / f"{path.name.removesuffix('.lock')}.lock"
        handle = try_lock(lock)
        if handle is None:
            continue
        try:
            freed += remove(path) if path != lock else 0
        finally:
            release(lock, handle)
        removed.append(path)
    pages = sorted((store.root / "reports").glob("*.html"), key=lambda p: p.stat().st_mtime) if (store.root / "reports").is_dir() else []
    for page in pages[:-20]:
        freed += remove(page)
        removed.append(page)
    return removed, freed


def unreferenced(store: LocalStore, older_than_days: float) -> list[str]:
    """Keys that no ref reaches through lineage and that were made more than so many days ago."""
    reached: set[str] = set()
    for name in store.refs.names():
        for key in store.refs.history(name):
            if store.has(key) and key not in reached:
                reached.update(store.lineage(key))
    limit = time.time() - older_than_days * 86400
    return [key for key in store.keys() if key not in reached and store.committed_at(key) < limit]


def size(path: Path) -> int:
    """Bytes on this disk of a file, or of all files in a folder; 0 where nothing is (an artifact that only a remote holds)."""
    return sum(p.stat().st_size for p in [path, *path.rglob("*")] if p.is_file())


def remove(path: Path) -> int:
    """Delete a file or folder that no run depends on; returns the bytes that were freed."""
    freed = size(path)
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    return freed
