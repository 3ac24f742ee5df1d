"""Refs in an object store: the log is one object, and a change takes the place of the very log that it was decided on.

The tag that S3 compares is a hash of the content. A log only grows, and each of its entries is numbered, so a ref that went from A to B
and back to A has another tag than before.
"""

from __future__ import annotations

import contextlib
import functools
import json
import secrets
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Concatenate, ParamSpec, cast

from fabloom.errors import DamagedArtifact, EnvironmentProblem, RefMoved
from fabloom.hashing import canonical_json
from fabloom.kinds.store import RefEntry
from fabloom.storage.reflog import SUFFIX, WRITE, RefLog, entries_of, summed

from .bucket import Bucket, pause, together

ROOM = "refs"
TRIES = 100
"""Times that a change is decided anew because somebody else was faster; each time one of them got through."""

P = ParamSpec("P")


class Overtaken(Exception):
    """Somebody else changed the log of this name since it was read."""


def _again(
    operation: Callable[Concatenate[ObjectRefs, P], RefEntry],
) -> Callable[Concatenate[ObjectRefs, P], RefEntry]:
    """Decide anew on what is there where somebody else was faster."""

    @functools.wraps(operation)
    def until_through(self: ObjectRefs, *args: P.args, **kwargs: P.kwargs) -> RefEntry:
        for tried in range(TRIES):
            try:
                return operation(self, *args, **kwargs)
            except Overtaken:
                pause(tried)
        raise EnvironmentProblem(f"a ref of '{self.bucket.url}' was changed by others {TRIES} times before this change. Run again.")

    return cast("Callable[Concatenate[ObjectRefs, P], RefEntry]", until_through)  # functools.wraps gives a type of its own


class ObjectRefs(RefLog):
    """`refs/<name>.json` of the bucket, in the form of a local store's, each entry with the name of the request that brought it there."""

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self._decided_on = threading.local()

    def names(self) -> list[str]:
        """All refs but deleted ones."""
        found = [entry.name.removeprefix(f"{ROOM}/") for entry in self.bucket.list(ROOM) if entry.name.endswith(SUFFIX)]
        safe = [name for path in found if self.safe(name := path.removesuffix(SUFFIX))]
        return sorted(name for name, gone in zip(safe, together(self._is_deleted, safe), strict=True) if not gone)

    def exists(self, name: str) -> bool:
        """Whether there is such an object."""
        return self._items(name) is not None

    def read(self, name: str) -> list[RefEntry]:
        """The log as the bucket has it."""
        items = self._items(name)
        if items is None:
            raise self.unknown(name)
        return self._entries(name, items)

    def past(self, name: str) -> list[RefEntry]:
        """The log that this thread decides on, remembered with its tag for `write`; no other reading changes that."""
        items, tag = self._fetched(name)
        found = [] if items is None else self._entries(name, items)
        own = [one if isinstance(one, dict) else {} for one in items or []]
        self._decided_on.logs = {**getattr(self._decided_on, "logs", {}), name: (own, tag)}
        return found

    def write(self, name: str, entries: Sequence[RefEntry]) -> None:
        """Put the log where the one that `past` gave is still there, else raise Overtaken."""
        items, tag = self._decided_on.logs.pop(name)
        token = secrets.token_hex(8)
        grown = [{**own, WRITE: token} if n >= len(items) else {**items[n], **own} for n, own in enumerate(summed(entries, name))]
        path, body = f"{ROOM}/{name}{SUFFIX}", canonical_json(grown)
        done = self.bucket.create(path, body) if tag is None else self.bucket.exchange(path, body, tag)
        if not done and not any(isinstance(one, dict) and one.get(WRITE) == token for one in self._items(name) or []):
            raise Overtaken(name)  # else it was the answer that got lost, and the request came twice

    def alone(self) -> AbstractContextManager[None]:
        """Nothing keeps others away; what they did is noticed by `write`."""
        return nullcontext()

    def rename(self, name: str, new: str, *, expected: str | None = None, why: str = "") -> RefEntry:
        """As `RefLog.rename`. The new name is there first; where the old one moved on meanwhile, the new one is taken back."""
        for tried in range(TRIES):
            try:
                return super().rename(name, new, expected=expected, why=why)
            except Overtaken as lost:
                if str(lost) == name:
                    self._take_back(name, new)
                pause(tried)
        raise EnvironmentProblem(f"'{name}' of '{self.bucket.url}' was changed by others each time. Run again.")

    set = _again(RefLog.set)
    rollback = _again(RefLog.rollback)
    hold = _again(RefLog.hold)
    unhold = _again(RefLog.unhold)
    delete = _again(RefLog.delete)

    def _take_back(self, name: str, new: str) -> None:
        """Delete the new name of a ref that moved on, unless somebody has done anything with the new name since: it is theirs then."""
        last = self.read(new)[-1]
        if last.action == "rename":
            with contextlib.suppress(RefMoved):
                self.delete(new, expected=last.key, why=f"'{name}' changed while it was renamed")

    def _items(self, name: str) -> list[Any] | None:
        """The log's JSON as it is now; None where there is none."""
        return self._fetched(name)[0]

    def _fetched(self, name: str) -> tuple[list[Any] | None, str | None]:
        found = self.bucket.read(f"{ROOM}/{self.checked(name)}{SUFFIX}")
        if found is None:
            return None, None
        try:
            items = json.loads(found[0])
            if not isinstance(items, list):
                raise TypeError("no list of entries")
        except (ValueError, TypeError, RecursionError) as error:
            raise self._damaged(name, error) from error
        return items, found[1]

    def _entries(self, name: str, items: list[Any]) -> list[RefEntry]:
        try:
            return entries_of(items, name)
        except (ValueError, TypeError, RecursionError) as error:
            raise self._damaged(name, error) from error

    def _damaged(self, name: str, error: Exception) -> DamagedArtifact:
        return DamagedArtifact(f"ref '{name}' is damaged ({error}). Remove '{self.bucket.url}/{ROOM}/{name}{SUFFIX}' and set it again.")
