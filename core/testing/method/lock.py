"""`fabloom.lock`, a small file beside an author's tests: what each task's version was when the source looked like this.

    {"fade": {"source": "9c1f…", "versions": {"sample": 1, "train": 2}}}

It is committed with the source. A change of the source without a bump fails the kit until somebody decides:
bump the version (equal inputs now give another output) or write the lock anew (they do not).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fabloom.method import Method, read_tasks
from fabloom.planning.fingerprint import source_fingerprint

NAME = "fabloom.lock"


@dataclass(frozen=True)
class Locked:
    """Source hash and versions of one method."""

    source: str
    versions: dict[str, int]

    @classmethod
    def of(cls, method: type[Method], modules: tuple[str, ...]) -> Locked:
        """As the code is now."""
        return cls(source_fingerprint(*modules), {name: spec.version for name, spec in sorted(read_tasks(method).items())})


def read(file: Path) -> dict[str, Locked]:
    """Locked methods by name; none where there is no file. Raises ValueError for a file that is no lock."""
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text())
        return {name: Locked(str(entry["source"]), dict(entry["versions"])) for name, entry in content.items()}
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{file} is no lock file ({error}); write it anew with `pytest --fabloom-lock`") from error


def write(file: Path, method: str, locked: Locked) -> None:
    """Set the entry of one method, keeping the others."""
    known: dict[str, Any] = {name: {"source": old.source, "versions": old.versions} for name, old in read(file).items()}
    known[method] = {"source": locked.source, "versions": locked.versions}
    temporary = file.with_suffix(".tmp")
    temporary.write_text(json.dumps(known, indent=2, sort_keys=True) + "\n")
    temporary.replace(file)


def disagreement(locked: Locked | None, found: Locked) -> str:
    """What is wrong, or '' where lock and code agree."""
    if locked is None:
        return "is not in the lock file"
    if locked == found:
        return ""
    lower = sorted(task for task, version in found.versions.items() if version < locked.versions.get(task, 0))
    if lower:
        return f"has a lower version than the lock for {', '.join(lower)}: a version only rises"
    if locked.versions == found.versions:
        return "has another source than the lock, and no task has another version"
    return "has another version than the lock"
