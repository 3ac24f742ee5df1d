"""Holding the store against its manifests, and taking out the rubbish."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from fabloom.errors import FabloomError
from fabloom.keys import blake_file

from .locks import is_held, release, try_lock
from .manifest import DATA, DIFFERS, NAME, read_manifest, tree_digest
from .store import Store


@dataclass
class Health:
    """What `verify` found: problems by key of a committed artifact, leftovers of runs that did not end, and warnings."""

    checked: int = 0
    problems: dict[str, list[str]] = field(default_factory=dict)
    leftovers: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def check_artifact(folder: Path) -> list[str]:
    """Problems of one committed artifact: every byte is hashed. An empty list means sound."""
    try:
        manifest = read_manifest(folder)
    except (FabloomError, OSError) as error:
        return [str(error)]
    problems = []
    files = {name: (size, digest) for name, (size, digest) in manifest["files"].items()}
    if tree_digest(files) != manifest["digest"]:
        problems.append("the manifest's digest does not follow from its files")
    present = {p.relative_to(folder / DATA).as_posix(): p for p in (folder / DATA).rglob("*") if not p.is_dir()}
    for name, (size, digest) in files.items():
        path = present.pop(name, None)
        if path is None:
            problems.append(f"{name}: missing")
        elif path.stat().st_size != size:
            problems.append(f"{name}: {path.stat().st_size} bytes instead of {size}")
        elif blake_file(path) != digest:
            problems.append(f"{name}: content differs from what was committed")
    problems.extend(f"{name}: a file that was never committed" for name in present)
    others = sorted({p.name for p in folder.iterdir()} - {NAME, DATA})
    problems.extend(f"{name}: a stranger beside the manifest" for name in others)
    return problems


def verify(store: Store, key: str | None = None) -> Health:
    """Check one artifact or all of them, and list leftovers."""
    health = Health()
    folders = [store.folder(key)] if key else sorted(p for p in (store.root / "objects").glob("*/*") if p.is_dir())
    for folder in folders:
        health.checked += 1
        problems = check_artifact(folder) if (folder / NAME).exists() else [f"{NAME}: missing"]
        if problems:
            health.problems[folder.name] = problems
    for note in sorted((store.root / "work").glob(f"{key or '*'}/{DIFFERS}")):
        health.warnings.append(f"{note.parent.name[:12]} was made twice with different results: {note.read_text()}")
    if key is None:
        health.leftovers = [path.relative_to(store.root).as_posix() for path in leftovers(store)]
    return health


def leftovers(store: Store) -> list[Path]:
    """Staging, work and lock entries whose lock no living process holds."""
    found = [path for room in ("staging", "work") for path in sorted((store.root / room).iterdir()) if path.is_dir()]
    dead = [path for path in found if not is_held(store.root / "locks" / f"{path.name}.lock")]
    return dead + [path for path in sorted((store.root / "locks").iterdir()) if not is_held(path)]


def sweep(store: Store) -> tuple[list[Path], int]:
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


def unreferenced(store: Store, older_than_days: float) -> list[str]:
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
