"""What makes a prefix a store: its stamp, and a server that keeps the conditions of a write, tried before anything is put there."""

from __future__ import annotations

import json
import secrets

from fabloom.errors import DamagedArtifact, EnvironmentProblem, UserError
from fabloom.hashing import canonical_json
from fabloom.planning.keys import SCHEMA
from fabloom.storage.backends.local import STAMP

from .bucket import Bucket, pause

PROBES = "probes"
STAMPINGS = 20
"""Times that the stamp is put, or read, while other machines put it."""
NEEDED = (
    "A store needs conditional writes (If-None-Match and If-Match), or two machines would mix their artifacts: Amazon S3, MinIO, Ceph and "
    "others have them in current versions."
)
"""What to do about a server that ignores conditions."""


def check_stamp(bucket: Bucket, *, read_only: bool) -> None:
    """Read the stamp, or make it where nothing is. An empty prefix that may not be written is an empty store, of which nothing is made.

    Raises UserError for a prefix that holds something else, DamagedArtifact for a damaged stamp, EnvironmentProblem for one of a newer
    fabloom and for a server that cannot hold a store.
    """
    found = bucket.read(STAMP)
    stamp = found[0] if found is not None else _begin(bucket, read_only)
    if stamp is None:
        return
    try:
        schema = json.loads(stamp)["schema"]
        if not isinstance(schema, int) or schema < 1:
            raise ValueError(f"there is no schema {schema}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedArtifact(f"'{bucket.url}/{STAMP}' is damaged ({error}); it should read {{\"schema\":{SCHEMA}}}") from error
    if schema > SCHEMA:
        raise EnvironmentProblem(f"store '{bucket.url}' has schema {schema}; this fabloom knows {SCHEMA}. Upgrade fabloom.")


def probe(bucket: Bucket) -> None:
    """Write and remove a small object, with and without conditions. Raises EnvironmentProblem where that is refused or ignored.

    What is there afterwards counts, since the answer to a request that came through may get lost.
    """
    name = f"{PROBES}/{secrets.token_hex(8)}"
    bucket.create(name, b"1")
    again, created = bucket.create(name, b"2"), bucket.read(name)
    stale = bucket.exchange(name, b"3", '"0"')
    if created is not None:
        bucket.exchange(name, b"4", created[1])
    moved = bucket.read(name)
    bucket.delete([name])
    if again or stale or (created and created[0]) != b"1" or (moved and moved[0]) != b"4":
        raise EnvironmentProblem(f"'{bucket.url}': its server ignores the conditions of a write, or refuses them. {NEEDED}")


def _begin(bucket: Bucket, read_only: bool) -> bytes | None:
    """Make a stamp where nothing is, once the server has shown that it keeps conditions; the stamp, None where nothing may be made."""
    stranger = next((entry for entry in bucket.list("") if not entry.name.startswith(f"{PROBES}/")), None)
    if stranger is not None:
        if (found := bucket.read(STAMP)) is not None:  # of a machine that began here at the same time
            return found[0]
        raise UserError(f"'{bucket.url}' is no fabloom store: it holds '{stranger.name[:80]}'. Give a new or empty prefix to --store.")
    if read_only:
        return None
    probe(bucket)
    stamp = canonical_json({"schema": SCHEMA})
    for tried in range(STAMPINGS):
        if bucket.create(STAMP, stamp):
            return stamp
        if (found := bucket.read(STAMP)) is not None:
            return found[0]
        pause(tried)  # the server is still deciding whose it is
    raise EnvironmentProblem(f"'{bucket.url}': {STAMP} could not be put there, and is not there, {STAMPINGS} times. Run again.")
