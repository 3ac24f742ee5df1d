"""A commit: the data first, into a place of their own; then the manifest, on the condition that nobody else's is there."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.errors import EnvironmentProblem
from fabloom.storage.commit.manifest import DATA, NAME, note_second

from .bucket import PIECE, Bucket, pause, together

if TYPE_CHECKING:
    from .store import ObjectStore

OBJECTS = "objects"
UPLOAD = "upload"
"""Field of a manifest: the token of the upload that it stands for."""
REPLACEMENTS = 20
"""Times that a replacing commit is tried because another one came before it."""


def publish(store: ObjectStore, key: str, ours: dict[str, Any], *, replace: bool) -> dict[str, Any]:
    """Bring what is sealed in the staging folder of a key into the bucket, and return the manifest that is there then."""
    sealed = store.workspace.root / "staging" / key
    body = (sealed / NAME).read_bytes()
    before = store.bucket.read(store.place(key))
    if before is None or replace:
        _upload(store.bucket, sealed, ours)
        _check_whole(store.bucket, ours)
    first = _claim(store, key, body, before, replace)
    if first is not None and first != body:  # theirs stays
        theirs = store.parsed(key, first)
        if before is None:
            store.remove_upload(upload_of(ours))
        note_second(store.work(key), theirs, ours)
        shutil.rmtree(sealed)
        return theirs
    shutil.rmtree(sealed)
    shutil.rmtree(store.work(key), ignore_errors=True)
    return ours


def _claim(store: ObjectStore, key: str, body: bytes, before: tuple[bytes, str] | None, replace: bool) -> bytes | None:
    """Put the manifest; None where that was done, else the one that is there: of another, or ours where only the answer got lost."""
    name = store.place(key)
    for tried in range(REPLACEMENTS):
        if before is None:
            done = store.bucket.create(name, body)
        elif replace:
            done = store.bucket.exchange(name, body, before[1])
        else:
            return before[0]
        if done:
            if before is not None:
                store.forget(key, before[0])
            return None
        before = store.bucket.read(name)
        if before is not None and before[0] == body:
            return body
        pause(tried)
    raise EnvironmentProblem(f"'{store.url}': {name} was replaced by others {REPLACEMENTS} times while this was tried. Run again.")


def _upload(bucket: Bucket, sealed: Path, manifest: Mapping[str, Any]) -> None:
    """Bring every file there, small ones several at a time, large ones one after the other in parts. A kill leaves an upload that no
    manifest names: `gc` removes it.
    """
    where = upload_of(manifest)

    def send(name: str) -> None:
        bucket.write(f"{where}/{DATA}/{name}", sealed / DATA / name)

    large = [name for name, (size, _) in manifest["files"].items() if size > PIECE]
    together(send, [name for name in manifest["files"] if name not in set(large)])
    for name in large:
        send(name)


def _check_whole(bucket: Bucket, manifest: Mapping[str, Any]) -> None:
    """Hold what lies of an upload against its manifest, by names and sizes. What was sealed stays here, for the next run to upload."""
    where = upload_of(manifest)
    there = {entry.name.removeprefix(f"{where}/{DATA}/"): entry.size for entry in bucket.list(where)}
    odd = [name for name, (size, _) in manifest["files"].items() if there.get(name) != size]
    if odd:
        raise EnvironmentProblem(
            f"'{bucket.url}/{where}' was uploaded just now, and {len(odd)} of its objects are missing or cut short, '{odd[0]}' first: "
            "somebody removes what is there, or the server lost it. Nothing was committed, and the work is kept. Run again."
        )


def upload_of(manifest: Mapping[str, Any]) -> str:
    """Where the data of a checked manifest lie."""
    return f"{OBJECTS}/{manifest['key']}/{manifest['digest']}-{manifest[UPLOAD]}"
