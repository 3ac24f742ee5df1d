"""Holding the store against its manifests."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fabloom.errors import EnvironmentProblem, FabloomError
from fabloom.hashing import blake_file
from fabloom.notes import read_note
from fabloom.regular import is_plain, read_regular
from fabloom.running.execute import STEP
from fabloom.storage.backends.base import BaseStore
from fabloom.storage.backends.local import LocalStore
from fabloom.storage.commit.manifest import DATA, DIFFERS, NAME, read_manifest, tree_digest

from .gc import KEY, leftovers
from .refs import SUFFIX, LocalRefs

LARGEST = 1 << 12
"""Bytes that are told of a note."""

LOOKS = 10
"""Times that an artifact is looked at which somebody replaces each time before the look is over."""


@dataclass
class Health:
    """What `verify` found: problems by key of a committed artifact (`ref NAME` for a ref, a path for what is neither), leftovers of runs
    that did not end, warnings. `steps` says of damaged artifacts (by key) and leftovers (by path), as far as it is known, which step of
    which pipeline and which task they are of, and of leftovers how it `ended` and `why`.
    """

    checked: int = 0
    problems: dict[str, list[str]] = field(default_factory=dict)
    leftovers: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    steps: dict[str, dict[str, str]] = field(default_factory=dict)


def check_artifact(folder: Path) -> list[str]:
    """Problems of one committed artifact: every byte is hashed. An empty list means sound."""
    try:
        manifest = read_manifest(folder)
    except (FabloomError, OSError) as error:
        return [str(error)]
    problems = [f"{name}: a link, where a file was committed" for name in (NAME, DATA) if (folder / name).is_symlink()]
    files = {name: (size, digest) for name, (size, digest) in manifest["files"].items()}
    if tree_digest(files) != manifest["digest"]:
        problems.append("the manifest's digest does not follow from its files")
    present = {p.relative_to(folder / DATA).as_posix(): p for p in (folder / DATA).rglob("*") if not p.is_dir()}
    for name, (size, digest) in files.items():
        path = present.pop(name, None)
        odd = "missing" if path is None else difference(path, size, digest)
        if odd:
            problems.append(f"{name}: {odd}")
    problems.extend(f"{name}: a file that was never committed" for name in present)
    others = sorted({p.name for p in folder.iterdir()} - {NAME, DATA})
    problems.extend(f"{name}: a stranger beside the manifest" for name in others)
    return problems


def difference(path: Path, size: int, digest: str) -> str:
    """In what a file is not the one that was committed; '' where it is."""
    try:
        if path.is_symlink():
            return "a link, where a file was committed"
        if not is_plain(path):
            return "no file"
        if (found := path.stat().st_size) != size:
            return f"{found} bytes instead of {size}"
        return "" if blake_file(path) == digest else "content differs from what was committed"
    except OSError as error:  # one that cannot be read hides no other
        return f"cannot be read: {error.strerror}"


def settled(store: LocalStore, folder: Path) -> list[str]:
    """Problems of an artifact, looked at again where somebody removed or replaced it meanwhile."""
    problems: list[str] = []
    for _ in range(LOOKS):
        before = identity(folder)
        if before is None and not os.path.lexists(folder):
            return []
        try:
            problems = [*check_artifact(folder), *missing_inputs(store, folder)] if before else [f"{NAME}: missing"]
        except (FabloomError, OSError) as error:
            problems = [str(error)]
        if not problems or identity(folder) == before:
            break
    return problems


def identity(folder: Path) -> tuple[int, int] | None:
    """Which manifest lies there, itself and not what a link leads to; None for none."""
    try:
        found = (folder / NAME).lstat()
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
    return [f"it was made from {key[:12]}, which is not in the store" for key in dict.fromkeys(keys) if not is_known(store, key)]


def is_known(store: LocalStore, key: str) -> bool:
    """Whether an artifact is there, or may be: one that nobody may look at is told under its own name."""
    try:
        return store.has(key)
    except EnvironmentProblem:
        return True


def maker(folder: Path) -> dict[str, str]:
    """Which step made an artifact first, as far as its manifest can be read and says so."""
    try:
        return maker_of(read_manifest(folder))
    except (FabloomError, OSError):
        return {}


def maker_of(manifest: Mapping[str, Any]) -> dict[str, str]:
    """Which step made the artifact of a manifest, as far as it says so."""
    known = {"step": manifest["step"], "pipeline": manifest["pipeline"], "task": manifest["preimage"]["task"]}
    return {name: value for name, value in known.items() if value}


def left_by(store: LocalStore, path: Path) -> dict[str, str]:
    """Which step left something in staging, work or locks, and how it ended; nothing where it does not say."""
    key = KEY.search(path.name)
    note = read_note(store.work(key[0]) / STEP) if key else None
    return {name: str(value) for name, value in (note or {}).items()}


def broken_refs(store: BaseStore) -> dict[str, list[str]]:
    """Refs that cannot be read, or point at nothing."""
    found: dict[str, list[str]] = {}
    try:
        names = store.refs.names()
    except OSError as error:
        return {"refs": [f"cannot be listed: {error.strerror}: {error.filename}"]}
    for name in names:
        try:
            target = next(reversed(store.refs.history(name)), None)
            if target is not None and not store.has(target):
                found[f"ref {name}"] = [f"it points at {target[:12]}, which is not in the store"]
            elif isinstance(store.refs, LocalRefs) and (store.refs.root / f"{name}{SUFFIX}").is_symlink():
                found[f"ref {name}"] = ["a link, where a file was written"]
        except (FabloomError, OSError) as error:
            found[f"ref {name}"] = [str(error)]
    return found


def committed(store: LocalStore, health: Health) -> Iterator[Path]:
    """The folders of artifacts; what else lies among them, or may not be listed, becomes a problem."""
    room = store.root / "objects"
    for place in sorted(room.iterdir()) if room.is_dir() else []:
        try:
            found = sorted(place.iterdir())
        except OSError as error:
            health.problems[place.relative_to(store.root).as_posix()] = [f"cannot be listed: {error.strerror}"]
            continue
        for folder in found:
            if KEY.fullmatch(folder.name) or folder.is_dir():
                yield folder
            else:
                health.problems[folder.relative_to(store.root).as_posix()] = ["no artifact"]


def verify(store: LocalStore, key: str | None = None) -> Health:
    """Check one artifact or all of them, and list leftovers."""
    health = Health()
    folders = [store.folder(key)] if key else list(committed(store, health))
    for folder in folders:
        health.checked += 1
        problems = settled(store, folder)
        if problems:
            health.problems[folder.name] = problems
            health.steps |= {folder.name: made} if (made := maker(folder)) else {}
    health.warnings += twice_made(store, key)
    if key is None:
        health.problems |= broken_refs(store)
        for name, left in leftovers_of(store):
            health.leftovers.append(name)
            health.steps |= {name: left} if left else {}
    return health


def twice_made(store: LocalStore, key: str | None) -> list[str]:
    """What was noted where a second committer had made something else than the first."""
    warnings = []
    for note in sorted((store.root / "work").glob(f"{key or '*'}/{DIFFERS}")):
        try:
            told = read_regular(note, LARGEST).decode(errors="replace")
        except OSError as error:
            told = f"{note.name} cannot be read: {error.strerror}"
        warnings.append(f"{note.parent.name[:12]} was made twice with different results: {told}")
    return warnings


def leftovers_of(store: LocalStore) -> Iterator[tuple[str, dict[str, str]]]:
    """What runs left that did not end, relative to the store, and which step left it."""
    for path in leftovers(store):
        yield path.relative_to(store.root).as_posix(), left_by(store, path)
