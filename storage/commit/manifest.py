"""The manifest: the one file that says an artifact exists, what was asked, and what every byte of it hashes to.

Stored as canonical JSON with a hash of itself, so that a flipped bit in the manifest is found as surely as one in the data.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fabloom.durable import write_durably
from fabloom.errors import DamagedArtifact, EnvironmentProblem
from fabloom.hashing import blake, canonical_json
from fabloom.planning.keys import SCHEMA
from fabloom.regular import STRANGE, read_regular

from .shape import check_shape, completed

NAME = "manifest.json"
DATA = "data.zarr"
DIFFERS = "differs.json"
"""In the work folder of a key: what a second committer made that was not what the first one committed."""


def tree_digest(files: Mapping[str, tuple[int, str]]) -> str:
    """The artifact's digest: blake2b over the sorted (path, size, hash) of everything under `data.zarr/`."""
    return blake(canonical_json(sorted([path, size, digest] for path, (size, digest) in files.items())))


def write_manifest(folder: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Write `folder/manifest.json` durably and return what `read_manifest` will."""
    body = {**content, "schema": SCHEMA}
    body["self"] = blake(canonical_json(body))
    write_durably(folder / NAME, canonical_json(body))
    return completed(body)


def read_manifest(folder: Path) -> dict[str, Any]:
    """Read and check a manifest. Raises DamagedArtifact, or EnvironmentProblem where a newer fabloom wrote it or none may read it."""
    return parse_manifest(_content(folder), folder.name)


def parse_manifest(data: bytes, key: str) -> dict[str, Any]:
    """Check the bytes of the manifest of `key`. Raises as `read_manifest`."""
    try:
        body: dict[str, Any] = json.loads(data, parse_constant=_refused)
        seal = canonical_json({"self": body["self"]})[1:-1]
        before, _, after = data.partition(b"," + seal)
        if not isinstance(body["schema"], int) or blake(before + after) != body["self"] or body["key"] != key:
            raise ValueError("its own hash does not match")
        if body["schema"] <= SCHEMA:
            check_shape(data)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DamagedArtifact(
            f"artifact {key[:12]}: {NAME} is damaged ({error}). Run `fabloom run … --redo STEP` to make it again."
        ) from error
    if body["schema"] > SCHEMA:
        raise EnvironmentProblem(f"artifact {key[:12]} has store schema {body['schema']}; this fabloom knows {SCHEMA}. Upgrade fabloom.")
    return completed(body)


def note_second(work: Path, first: Mapping[str, Any], second: Mapping[str, Any]) -> None:
    """Of two commits of a key the first stays: the second's work folder goes, or says in what they differ."""
    if first["digest"] == second["digest"]:
        shutil.rmtree(work, ignore_errors=True)
    else:
        work.mkdir(parents=True, exist_ok=True)
        write_durably(work / DIFFERS, canonical_json({"committed": first["digest"], "dropped": second["digest"]}))


def _refused(name: str) -> None:
    """NaN and infinity, which are no JSON to others."""
    raise ValueError(f"it holds {name}")


def _content(folder: Path) -> bytes:
    path = folder / NAME
    try:
        return read_regular(path)
    except OSError as error:
        told = f"artifact {folder.name[:12]}: {NAME} cannot be read: {error.strerror}"
        if error.errno in STRANGE or isinstance(error, FileNotFoundError):
            raise DamagedArtifact(f"{told}. Run `fabloom run … --redo STEP` to make it again.") from error
        raise EnvironmentProblem(f"{told}. Mend the disk, or the permissions of '{path}'.") from error
