"""Holding the store against its manifests."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from fabloom.errors import FabloomError
from fabloom.hashing import blake_file
from fabloom.storage.backends.local import LocalStore
from fabloom.storage.commit.manifest import DATA, DIFFERS, NAME, read_manifest, tree_digest

from .gc import leftovers


@dataclass
class Health:
    """What `verify` found: problems by key of a committed artifact (`ref NAME` for a ref), leftovers of runs that did not end, warnings."""

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


def settled(store: LocalStore, folder: Path) -> list[str]:
    """Problems of an artifact, looked at again where somebody removed or replaced it meanwhile."""
    for _ in range(3):
        before = identity(folder)
        try:
            problems = [*check_artifact(folder), *missing_inputs(store, folder)] if before else [f"{NAME}: missing"]
        except OSError as error:  # one that cannot be read hides no other
            problems = [str(error)]
        if not problems or identity(folder) == before:
            break
    return problems if folder.exists() else []


def identity(folder: Path) -> tuple[int, int] | None:
    """Which manifest lies there; None for none."""
    try:
        found = (folder / NAME).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def missing_inputs(store: LocalStore, folder: Path) -> list[str]:
    """What the artifact was made from and is not in the store any more."""
    try:
        inputs = read_manifest(folder)["preimage"].get("inputs", {})
    except FabloomError:
        return []  # told already
    keys = [key for value in inputs.values() for key in (value if isinstance(value, list) else [value])]
    return [f"it was made from {key[:12]}, which is not in the store" for key in dict.fromkeys(keys) if not store.has(key)]


def broken_refs(store: LocalStore) -> dict[str, list[str]]:
    """Refs that cannot be read, or point at nothing."""
    found: dict[str, list[str]] = {}
    for name in store.refs.names():
        try:
            target = store.refs.get(name)
            if not store.has(target):
                found[f"ref {name}"] = [f"it points at {target[:12]}, which is not in the store"]
        except (FabloomError, OSError) as error:
            found[f"ref {name}"] = [str(error)]
    return found


def verify(store: LocalStore, key: str | None = None) -> Health:
    """Check one artifact or all of them, and list leftovers."""
    health = Health()
    folders = [store.folder(key)] if key else sorted(p for p in (store.root / "objects").glob("*/*") if p.is_dir())
    for folder in folders:
        health.checked += 1
        problems = settled(store, folder)
        if problems:
            health.problems[folder.name] = problems
    for note in sorted((store.root / "work").glob(f"{key or '*'}/{DIFFERS}")):
        health.warnings.append(f"{note.parent.name[:12]} was made twice with different results: {note.read_text()}")
    if key is None:
        health.problems |= broken_refs(store)
        health.leftovers = [path.relative_to(store.root).as_posix() for path in leftovers(store)]
    return health
