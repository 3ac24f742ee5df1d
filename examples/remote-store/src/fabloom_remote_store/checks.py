"""What comes from the remote is data: nothing of it becomes a path before it has been looked at."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from fabloom.errors import DamagedArtifact
from fabloom.planning.keys import artifact_key
from fabloom.storage.commit.manifest import tree_digest
from fabloom.storage.refs import entries_of

KEY = re.compile(r"[0-9a-f]{40}")
PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,254}")
"""One part of a file's path in an artifact. Refuses '', '.', '..', a leading '/', a drive and a backslash."""


def check_key(key: str) -> str:
    """The key itself. Raises DamagedArtifact where a manifest or ref names something else."""
    if not KEY.fullmatch(key):
        raise DamagedArtifact(f"{key[:60]!r} is no key: 40 hexadecimal digits were expected")
    return key


def check_manifest(key: str, manifest: Mapping[str, Any]) -> None:
    """Raise DamagedArtifact unless this manifest answers `key`, names safe files and gives the digest that follows from them."""
    try:
        if artifact_key(manifest["preimage"]) != key:
            raise ValueError("it answers another key")
        for name, (size, digest) in manifest["files"].items():
            if not all(PART.fullmatch(part) for part in name.split("/")):
                raise ValueError(f"{name[:60]!r} is no safe file name")
            if type(size) is not int or size < 0 or not KEY.fullmatch(digest):
                raise ValueError(f"{name[:60]!r} has no size or hash")
        if tree_digest({name: (size, digest) for name, (size, digest) in manifest["files"].items()}) != manifest["digest"]:
            raise ValueError("its digest does not follow from its files")
        if not isinstance(manifest["kind"], str) or not isinstance(manifest["metrics"], dict) or not isinstance(manifest["arrays"], dict):
            raise TypeError("kind, metrics or arrays have another type")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedArtifact(f"artifact {key[:12]}: its manifest cannot be used ({error}). {REMEDY}") from error


def check_log(name: str, data: bytes) -> None:
    """Raise DamagedArtifact unless `data` is a ref's log, each of whose entries names a key."""
    try:
        for entry in entries_of(json.loads(data), name):
            if not KEY.fullmatch(entry.key):
                raise ValueError("an entry that names no key")
    except (ValueError, TypeError, RecursionError) as error:
        raise DamagedArtifact(f"ref '{name}' is damaged ({error}). Remove its file and set it again.") from error


REMEDY = "Run `fabloom run … --redo STEP` to make it again."
"""What to do about an artifact that is damaged."""
