"""What living runs read: a lock file a run that lists its keys, so that `gc` leaves them alone and a killed run pins nothing."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from fabloom.errors import DamagedArtifact
from fabloom.hashing import blake
from fabloom.locks import is_held, is_odd, locked, release, try_lock
from fabloom.regular import clear, read_regular

DOOR = "gc.lock"
"""Held while somebody decides what is not needed, and for the moment in which a run says what it needs."""
PREFIX = "run-"


@contextmanager
def pinned(room: Path, keys: Iterable[str]) -> Iterator[None]:
    """Pin the keys until the end of the block, or of this process. Waits for a `gc` that is deciding."""
    path = room / f"{PREFIX}{secrets.token_hex(8)}.lock"
    with ExitStack() as own:
        with deciding(room):
            for other in room.glob(f"{PREFIX}*.lock"):
                if is_odd(other):
                    clear(other)
                elif not is_held(other) and (dead := try_lock(other)) is not None:
                    release(other, dead)  # of a run that was killed
            own.enter_context(locked(path, lambda pid: None, lambda: False))  # who looks for leftovers may be the first to have it
            body = "\n".join([str(os.getpid()), *keys])
            path.write_text(f"{body}\n{blake(body.encode())}")
        yield


@contextmanager
def deciding(room: Path) -> Iterator[None]:
    """Hold the door: pins neither come nor go unseen."""
    with locked(room / DOOR, lambda pid: None, lambda: False):
        yield


def living(room: Path) -> set[str]:
    """Keys that a living process has pinned. Raises DamagedArtifact where one cannot be read: nobody may decide without it.

    The caller holds the door, so that every list is whole.
    """
    found: set[str] = set()
    for path in room.glob(f"{PREFIX}*.lock"):
        if is_held(path):
            try:
                body, _, claimed = read_regular(path).rpartition(b"\n")
            except FileNotFoundError:
                continue  # its run has ended
            if blake(body).encode() != claimed:
                raise DamagedArtifact(f"'{path}', in which a living run says what it needs, is damaged. Wait for that run to end.")
            found.update(body.decode().splitlines()[1:])
    return found
