"""What was asked, as bytes: canonical JSON, artifact keys, step seeds and the hash of source files."""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import os
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from .errors import DataError
from .params import Source

SCHEMA = 1
"""Version of the key's preimage and of the store's layout."""


def blake(data: bytes) -> str:
    """blake2b-160 of `data` in hexadecimal, the one hash of keys and digests."""
    return hashlib.blake2b(data, digest_size=20).hexdigest()


def blake_file(path: Path) -> str:
    """blake2b-160 of a file's content, read in 1 MiB pieces."""
    digest = hashlib.blake2b(digest_size=20)
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def canonical_json(value: Any) -> bytes:
    """Sorted, compact UTF-8 JSON. Raises TypeError for anything whose JSON form is not unique and exact."""
    _reject_ambiguous(value, "$")
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _reject_ambiguous(value: Any, path: str) -> None:
    if isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, str):
                raise TypeError(f"{path}: key {name!r} is {type(name).__name__}; canonical JSON wants text keys")
            _reject_ambiguous(item, f"{path}.{name}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            _reject_ambiguous(item, f"{path}[{index}]")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise TypeError(f"{path}: {value} has no canonical form")
    elif not (value is None or type(value) in (bool, int, str)):
        raise TypeError(f"{path}: {type(value).__name__} has no canonical form")


class SourceHasher(Protocol):
    """Hashes what a `Source` names; the store supplies one with a cache."""

    def __call__(self, path: Path) -> str: ...


def canonical_params(params: BaseModel, hasher: SourceHasher) -> dict[str, Any]:
    """The parameters as they enter key and manifest: defaults filled in, every `Source` replaced by its hash."""

    def walk(value: Any) -> Any:
        if isinstance(value, Source):
            return {"source": hasher(value.path)}
        if isinstance(value, BaseModel):
            return {name: walk(getattr(value, name)) for name in type(value).model_fields}
        if isinstance(value, Mapping):
            return {name: walk(item) for name, item in value.items()}
        if isinstance(value, list | tuple):
            return [walk(item) for item in value]
        if isinstance(value, Enum):
            return walk(value.value)
        return value

    result: dict[str, Any] = walk(params)
    canonical_json(result)
    return result


def preimage(task: str, version: int, params: Mapping[str, Any], seed: int, inputs: Mapping[str, str | list[str]]) -> dict[str, Any]:
    """What the key of an artifact is made of: `params` in canonical form, `inputs` keys by port."""
    return {"schema": SCHEMA, "task": task, "version": version, "params": params, "seed": seed, "inputs": inputs}


def artifact_key(preimage: Mapping[str, Any]) -> str:
    """blake2b of the canonical JSON of {schema, task, version, params, seed, inputs}."""
    return blake(canonical_json(preimage))


def step_seed(pipeline_seed: int, step_seed_: int, task: str) -> int:
    """The 63-bit seed of a step: a hash of (pipeline seed, step seed, task)."""
    digest = hashlib.blake2b(canonical_json([pipeline_seed, step_seed_, task]), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def source_files(root: Path) -> list[tuple[str, Path]]:
    """(name relative to the root, path) of every file a source holds, sorted; hidden files are left out.

    A single file is named by its own name. Raises DataError where nothing is there or a link leads outside.
    """
    if root.is_file():
        return [(root.name, root)]
    if not root.is_dir():
        raise DataError(f"'{root}' does not exist. Give the path of a file or folder, e.g. with --set steps.NAME.params.path=FOLDER.")
    found: list[tuple[str, Path]] = []
    inside = root.resolve()
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in subfolders:
            if (Path(folder) / name).is_symlink():
                raise DataError(f"'{Path(folder) / name}' is a link to a folder. Put the folder itself there.")
        for name in sorted(names):
            path = Path(folder) / name
            if name.startswith(".") or not (path.is_file() or path.is_symlink()):
                continue
            if not path.exists():
                raise DataError(f"'{path}' is a link to nothing. Remove it, or copy the file into the folder.")
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                raise DataError(f"'{path}' is a link that leads out of '{root}'. Copy the file into the folder.")
            found.append((path.relative_to(root).as_posix(), path))
    return sorted(found)


class SourceCache:
    """Hashes sources, remembering files by (path, size, mtime, inode) so that an unchanged folder costs one stat a file.

    `file` holds the memory between runs (JSON); None keeps it in this process only.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self._known: dict[str, list[Any]] = {}
        if file is not None and file.is_file():
            try:
                self._known = json.loads(file.read_text())
            except ValueError:
                self._known = {}  # only a cache: an unreadable one is rebuilt

    def __call__(self, path: Path) -> str:
        entries = []
        changed = False
        for name, file in source_files(path):
            stat = file.stat()
            mark = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
            place = str(file.resolve())
            known = self._known.get(place)
            if known is None or known[:3] != mark:
                known = [*mark, blake_file(file)]
                self._known[place] = known
                changed = True
            entries.append([name, stat.st_size, known[3]])
        if changed and self.file is not None and self.file.parent.is_dir():
            temporary = self.file.with_name(f"{self.file.name}.{os.getpid()}")
            with contextlib.suppress(OSError):  # only a cache: a full disk is told by what needs it
                temporary.write_text(json.dumps(self._known))
                temporary.replace(self.file)
        return blake(canonical_json(entries))
