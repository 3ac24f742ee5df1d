"""What living runs of any machine read: an object a run that lists its keys, so that nobody's `gc` takes them away."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from fabloom.errors import DamagedArtifact, EnvironmentProblem
from fabloom.hashing import canonical_json

from .bucket import Bucket, Entry, together

ROOM = "pins"
BELIEVED = 30 * 86400.0
"""Seconds for which a run that did not take its pin away is believed to live: a killed one leaves it."""


@contextmanager
def pinned(bucket: Bucket, keys: Iterable[str]) -> Iterator[None]:
    """Pin the keys until the end of the block."""
    name = f"{ROOM}/{secrets.token_hex(8)}.json"
    bucket.write(name, canonical_json({"keys": sorted(keys), "process": os.getpid()}))
    try:
        yield
    finally:
        with contextlib.suppress(EnvironmentProblem):  # the run is over, and must not fail for this
            bucket.delete([name])


def living(bucket: Bucket) -> set[str]:
    """Keys that are pinned. Raises DamagedArtifact where a pin cannot be read: nobody may decide without it."""
    fresh = [entry.name for entry in bucket.list(ROOM) if entry.modified > time.time() - BELIEVED]
    return set[str]().union(*together(lambda name: _read(bucket, name), fresh))


def dead(bucket: Bucket) -> list[Entry]:
    """Pins of runs that were killed long ago."""
    return [entry for entry in bucket.list(ROOM) if entry.modified < time.time() - BELIEVED]


def _read(bucket: Bucket, name: str) -> set[str]:
    found = bucket.read(name)
    try:
        return set(json.loads(found[0])["keys"]) if found is not None else set()
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        told = f"'{bucket.url}/{name}', in which a run says what it needs, is damaged"
        raise DamagedArtifact(f"{told}. Remove it once that run has ended.") from error
