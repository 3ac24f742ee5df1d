"""What living runs of any machine read: an object a run that lists its keys, so that nobody's `gc` takes them away.

Beside it the run holds a lock on its own machine, by which `gc` there tells that it was killed.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fabloom.errors import DamagedArtifact, EnvironmentProblem
from fabloom.hashing import canonical_json
from fabloom.locks import is_held, is_odd, locked, release, try_lock
from fabloom.regular import clear

from .bucket import Bucket, Entry, together

ROOM = "pins"
BELIEVED = 30 * 86400.0
"""Seconds for which a run that did not take its pin away is believed to live: a killed one leaves it."""


@contextmanager
def pinned(bucket: Bucket, keys: Iterable[str], here: Path) -> Iterator[None]:
    """Pin the keys until the end of the block; `here` is the folder of this machine's locks for that."""
    token = secrets.token_hex(8)
    here.mkdir(parents=True, exist_ok=True)
    with locked(here / f"{token}.lock", lambda pid: None, lambda: False):  # who looks for killed runs may be the first to have it
        bucket.write(_name(token), canonical_json({"keys": sorted(keys), "process": os.getpid()}))
        try:
            yield
        finally:
            with contextlib.suppress(EnvironmentProblem):  # the run is over, and must not fail for this
                bucket.delete([_name(token)])


def _name(token: str) -> str:
    return f"{ROOM}/{token}.json"


def killed(here: Path) -> list[str]:
    """Names of the pins of this machine's runs that were killed."""
    return [_name(lock.stem) for lock in sorted(here.glob("*.lock")) if not is_held(lock)]


def clear_killed(bucket: Bucket, here: Path) -> list[str]:
    """Take the pins of this machine's runs that were killed away: their names."""
    gone = []
    for lock in sorted(here.glob("*.lock")):
        if is_odd(lock):
            clear(lock)
        elif not is_held(lock) and (dead := try_lock(lock)) is not None:
            bucket.delete([_name(lock.stem)])
            gone.append(_name(lock.stem))
            release(lock, dead)
    return gone


def living(bucket: Bucket) -> set[str]:
    """Keys that are pinned. Raises DamagedArtifact where a pin cannot be read: nobody may decide without it."""
    fresh = [entry.name for entry in bucket.list(ROOM) if entry.modified > time.time() - BELIEVED]
    return set[str]().union(*together(lambda name: _read(bucket, name), fresh))


def dead(bucket: Bucket) -> list[Entry]:
    """Pins of runs that were killed long ago, on whatever machine."""
    return [entry for entry in bucket.list(ROOM) if entry.modified < time.time() - BELIEVED]


def _read(bucket: Bucket, name: str) -> set[str]:
    found = bucket.read(name)
    try:
        return set(json.loads(found[0])["keys"]) if found is not None else set()
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        told = f"'{bucket.url}/{name}', in which a run says what it needs, is damaged"
        raise DamagedArtifact(f"{told}. Remove it once that run has ended.") from error
