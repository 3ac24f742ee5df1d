"""The log behind a ref, and what may be done with it, wherever it is kept."""

from __future__ import annotations

import contextlib
import getpass
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from typing import Any

from fabloom.errors import FabloomError, RefMoved, UserError, did_you_mean
from fabloom.hashing import blake, canonical_json
from fabloom.kinds.store import RefEntry

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*(/[A-Za-z0-9][A-Za-z0-9_.\-]*)*")
HEX = re.compile(r"[0-9a-f]{40}")
SUFFIX = ".json"
SUM = "sum"
"""Field of an entry as it is kept: what it and all before it hash to."""
WRITE = "write"
"""Field of an entry in an object store: the name of the request that brought it there."""
MOVES = ("set", "rollback")
"""Actions that change what a ref points at."""
DELETE = "delete"
"""The action after which a ref begins anew: what it pointed at before is told by its log, and by nothing else."""


class RefLog:
    """Everything that `fabloom.kinds.store.Refs` promises, over logs that a subclass lists, reads and writes.

    A change reads the log, decides, and writes it with what was appended, `alone`: of several writers at once none may be lost.
    """

    def names(self) -> list[str]:
        """All refs but deleted ones, sorted, also those that cannot be read: nobody may decide as if they were not there."""
        raise NotImplementedError

    def exists(self, name: str) -> bool:
        """Whether there is a log of that name, or something in its place. Raises UserError for an unsafe name."""
        raise NotImplementedError

    def read(self, name: str) -> list[RefEntry]:
        """The log as it is kept. Raises UserError for an unknown or unsafe name, DamagedArtifact for what is none."""
        raise NotImplementedError

    def write(self, name: str, entries: Sequence[RefEntry]) -> None:
        """Put the log in the place of the one that `past` gave."""
        raise NotImplementedError

    def past(self, name: str) -> list[RefEntry]:
        """The log that a change is decided on, empty for none, by one reading where nobody is kept away; `write` takes this one's place."""
        return self.read(name) if self.exists(name) else []

    def alone(self) -> AbstractContextManager[None]:
        """Whatever keeps others from changing a log while a change is decided."""
        raise NotImplementedError

    @staticmethod
    def safe(name: str) -> bool:
        """Whether a ref may be called so: nothing of it leads out of the folder, and no name is another one's folder."""
        return bool(NAME.fullmatch(name)) and len(name) <= 200 and not any(part.endswith(SUFFIX) for part in name.split("/"))

    def checked(self, name: str) -> str:
        """The name. Raises UserError for an unsafe one."""
        if not self.safe(name):
            raise UserError(f"'{name}' is no ref name: letters, digits, '_', '.', '-', parts joined by '/', none ending with '{SUFFIX}'")
        return name

    def unknown(self, name: str) -> UserError:
        """What is said of a ref that nobody has set."""
        return UserError(f"there is no ref '{name}'.{did_you_mean(name, self.names())} Set one with `fabloom ref set NAME KEY`.")

    def _is_deleted(self, name: str) -> bool:
        """False also where nobody can tell."""
        try:
            return self.read(name)[-1].action == DELETE
        except (FabloomError, OSError):
            return False

    def log(self, name: str) -> list[RefEntry]:
        """Everything that happened to the ref, oldest first. Raises UserError for an unknown ref, DamagedArtifact for a damaged one."""
        return self.read(name)

    def history(self, name: str) -> list[str]:
        """Keys that the ref has pointed at, oldest first."""
        return [entry.key for entry in living(self.log(name)) if entry.action in MOVES]

    def get(self, name: str) -> str:
        """The key that the ref points at."""
        past = self.history(name)
        if not past:
            raise _nowhere(name, self.log(name))
        return past[-1]

    def held(self, name: str) -> frozenset[str]:
        """Keys that are not to be promoted: held, and not let go since."""
        return held_back(self.log(name))

    def set(self, name: str, key: str, *, expected: str | None = None, why: str = "") -> RefEntry:
        """Point the ref at `key`; nothing is appended where it is there already.

        Raises RefMoved where `expected` is given and the ref points at something else by now, or at nothing; '' expects nothing.
        """
        with self._writing(name) as past:
            current = next((entry for entry in reversed(living(past)) if entry.action in MOVES), None)
            _check_expected(name, current, expected)
            if current is not None and current.key == key:
                return current
            return self._append(name, past, [("set", key, why, expected)])[-1]

    def rollback(self, name: str, *, to: str | None = None, hold: bool = True, why: str = "") -> RefEntry:
        """Append a move back to the key before the present one, or to `to`; nothing is taken out of the log.

        With `hold`, the key that is left is held, so that the next automatic promotion does not bring it back.
        """
        with self._writing(name) as past:
            moves = [entry for entry in living(past) if entry.action in MOVES]
            if not moves:
                raise _nowhere(name, past) if past else self.unknown(name)
            left = moves[-1].key
            target = to or _before(moves)
            if target is None or target == left:
                cure = "name one of its log with --to KEY, or set it" if len({entry.key for entry in moves}) > 1 else "set it to another"
                raise UserError(f"ref '{name}' has no earlier artifact to roll back to; {cure}. See `fabloom ref log {name}`.")
            if to is not None and to not in {entry.key for entry in moves}:
                raise UserError(f"ref '{name}' never pointed at {to[:12]}; see its log, or set it")
            reason = why or f"rollback of {moves[-1].n}"
            changes = [("rollback", target, reason, None), *([("hold", left, reason, None)] if hold else [])]
            return self._append(name, past, changes)[0]

    def hold(self, name: str, key: str, *, why: str = "") -> RefEntry:
        """Mark `key` as not to be promoted."""
        with self._writing(name) as past:
            return self._append(name, past, [("hold", key, why, None)])[0]

    def unhold(self, name: str, key: str, *, why: str = "") -> RefEntry:
        """Let `key` be promoted again."""
        with self._writing(name) as past:
            return self._append(name, past, [("unhold", key, why, None)])[0]

    def rename(self, name: str, new: str, *, expected: str | None = None, why: str = "") -> RefEntry:
        """Give the ref another name, with all of its log. The old name's log stays, and says at its end where the ref went.

        Raises UserError where the ref holds a key or `new` is taken, RefMoved as `set`.
        """
        self.checked(new)
        with self._writing(name) as past:
            current = self._leaving(name, past, expected, "rename")
            before = past if name == new else self.past(new)
            if before and before[-1].action != DELETE:
                raise UserError(f"there is a ref '{new}' already; give another name, or delete it first")
            moved = [*before, *(replace(entry, n=place) for place, entry in enumerate(living(past), start=len(before) + 1))]
            made = self._append(new, moved, [("rename", current.key, why or f"was '{name}'", expected)])[-1]
            self._append(name, past, [(DELETE, current.key, why or f"renamed to '{new}'", expected)])
            return made

    def delete(self, name: str, *, expected: str | None = None, why: str = "") -> RefEntry:
        """Let the ref point at nothing. Its log stays, and goes on where the ref is set again.

        Raises UserError where it holds a key, RefMoved where `expected` is given and the ref is not there any more.
        """
        with self._writing(name) as past:
            current = self._leaving(name, past, expected, "delete")
            return self._append(name, past, [(DELETE, current.key, why, expected)])[-1]

    def _leaving(self, name: str, past: list[RefEntry], expected: str | None, what: str) -> RefEntry:
        """The last move of a ref that is to go, where it may."""
        if not past:
            raise self.unknown(name)
        current = next((entry for entry in reversed(living(past)) if entry.action in MOVES), None)
        _check_expected(name, current, expected)
        held = sorted(held_back(past))
        if held:
            first = f"fabloom ref unhold {name} {held[0][:12]}"
            raise UserError(f"ref '{name}' holds {len(held)} key{'s' * (len(held) > 1)} back; let go by `{first}`, then {what} it")
        if current is None:
            raise _nowhere(name, past)
        return current

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[list[RefEntry]]:
        """The log as it is now, while nobody else changes it."""
        self.checked(name)
        with self.alone():
            yield self.past(name)

    def _append(self, name: str, past: list[RefEntry], changes: Sequence[tuple[str, str, str, str | None]]) -> list[RefEntry]:
        for _, _, why, _ in changes:
            if not why.isascii() and any("\ud800" <= c <= "\udfff" for c in why):
                raise UserError("the reason is no text: it holds a byte that is not UTF-8")
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        added = [
            RefEntry(len(past) + 1 + index, key, at, _user(), why, expected, action)
            for index, (action, key, why, expected) in enumerate(changes)
        ]
        self.write(name, [*past, *added])
        return added


def entries_of(content: Any, name: str | None = None) -> list[RefEntry]:
    """The entries of a ref file's JSON; with the ref's name they are held against their sums, which older files have none of.

    Raises TypeError or ValueError for what is none.
    """
    if not isinstance(content, list) or not content:
        raise ValueError("no list of entries")
    found = []
    for n, item in enumerate(content, start=1):
        if not isinstance(item, str | dict):
            raise ValueError(f"entry {n} is none")
        entry = (
            RefEntry(n, item) if isinstance(item, str) else RefEntry(**{field: item[field] for field in item if field not in (SUM, WRITE)})
        )
        texts = (entry.key, entry.at, entry.by, entry.why, entry.action, entry.expected or "")
        if not isinstance(entry.n, int) or not all(isinstance(text, str) for text in texts):
            raise ValueError("an entry with a field of another type")
        if not HEX.fullmatch(entry.key):
            raise ValueError(f"'{entry.key}' is no key")
        found.append(entry)
    if name is not None:
        for item, own in zip(content, summed(found, name), strict=True):
            if isinstance(item, dict) and item.get(SUM, own[SUM]) != own[SUM]:
                raise ValueError(f"entry {own['n']} is not what was written")
    return found


def summed(entries: Sequence[RefEntry], name: str) -> list[dict[str, Any]]:
    """Entries as they are written: each with a hash of itself and of the one before, the first of the ref's name.

    So a flipped bit that leaves another log (a move that is none, another key), and the log of another ref, are found on reading.
    """
    found, last = [], name
    for entry in entries:
        last = blake(canonical_json([last, asdict(entry)]))
        found.append({**asdict(entry), SUM: last})
    return found


def _before(moves: list[RefEntry]) -> str | None:
    """What the ref pointed at before its present key, moves that were taken back left out."""
    stack: list[str] = []
    for entry in moves:
        if entry.action == "rollback" and entry.key in stack:
            del stack[stack.index(entry.key) + 1 :]
        else:
            stack.append(entry.key)
    return stack[-2] if len(stack) > 1 else None


def living(entries: Sequence[RefEntry]) -> list[RefEntry]:
    """What counts of a log: what came after the last delete."""
    deleted = [place for place, entry in enumerate(entries) if entry.action == DELETE]
    return list(entries[deleted[-1] + 1 :] if deleted else entries)


def held_back(entries: Sequence[RefEntry]) -> frozenset[str]:
    """Keys that a log holds, and has not let go since."""
    found: set[str] = set()
    for entry in living(entries):
        if entry.action == "hold":
            found.add(entry.key)
        elif entry.action == "unhold":
            found.discard(entry.key)
    return frozenset(found)


def _check_expected(name: str, current: RefEntry | None, expected: str | None) -> None:
    """Raise RefMoved where a ref is not at the key that somebody decided against."""
    now = current.key if current else None
    if expected is not None and (now or "") != expected:
        at, thought = (now or "nothing")[:12], (expected or "nothing")[:12]
        raise RefMoved(f"ref '{name}' points at {at}, not at {thought} any more: decide again on what is there")


def _nowhere(name: str, entries: Sequence[RefEntry]) -> UserError:
    gone = next((entry for entry in reversed(entries) if entry.action == DELETE), None)
    if gone is not None and not living(entries):
        return UserError(f"ref '{name}' was deleted ({gone.at or 'some time ago'}{f': {gone.why}' if gone.why else ''}); its log stays")
    return UserError(f"ref '{name}' points at nothing yet: its log has only holds. Set it with `fabloom ref set {name} KEY`.")


def _user() -> str:
    try:
        return getpass.getuser().encode(errors="backslashreplace").decode()
    except (OSError, KeyError, ImportError):  # a container without a user database
        return ""
