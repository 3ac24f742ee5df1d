"""Refs: mutable names for artifacts, each an append-only log, so that a promotion can be rolled back and what happened stays known."""

from __future__ import annotations

import contextlib
import errno
import getpass
import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fabloom.durable import write_durably
from fabloom.errors import DamagedArtifact, FabloomError, RefMoved, UserError, did_you_mean
from fabloom.hashing import blake, canonical_json
from fabloom.kinds.store import RefEntry
from fabloom.regular import STRANGE, read_regular

from .backends.locks import locked

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*(/[A-Za-z0-9][A-Za-z0-9_.\-]*)*")
HEX = re.compile(r"[0-9a-f]{40}")
SUFFIX = ".json"
SUM = "sum"
"""Field of an entry in the file: what it and all before it hash to."""
LOCK = ".lock"
"""In the folder of refs: held while one of them changes."""
MOVES = ("set", "rollback")
"""Actions that change what a ref points at."""
DELETE = "delete"
"""The action after which a ref begins anew: what it pointed at before is told by its log, and by nothing else."""


class LocalRefs:
    """`refs/<name>.json`: a JSON list of entries with sums, oldest first; a plain key in it is an entry of a store older than the log.

    Every change reads, appends and replaces the file under one lock, so that of several writers at once none is lost.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    @staticmethod
    def safe(name: str) -> bool:
        """Whether a ref may be called so: nothing of it leads out of the folder, and no name is another one's folder."""
        return bool(NAME.fullmatch(name)) and len(name) <= 200 and not any(part.endswith(SUFFIX) for part in name.split("/"))

    def _file(self, name: str) -> Path:
        if not self.safe(name):
            raise UserError(f"'{name}' is no ref name: letters, digits, '_', '.', '-', parts joined by '/', none ending with '{SUFFIX}'")
        return self.root / f"{name}{SUFFIX}"

    def names(self) -> list[str]:
        """All refs but deleted ones, also those in whose place no file is: nobody may decide as if they were not there. Raises OSError."""
        found = []
        for folder, below, files in os.walk(self.root, onerror=_raise):
            odd = [name for name in below if name.endswith(SUFFIX)]
            below[:] = sorted(set(below) - set(odd))
            found += [Path(folder, name).relative_to(self.root).as_posix() for name in (*files, *odd) if name.endswith(SUFFIX)]
        return sorted(name for path in found if self.safe(name := path.removesuffix(SUFFIX)) and not self._is_deleted(name))

    def _is_deleted(self, name: str) -> bool:
        """False also where nobody can tell."""
        try:
            return self.read(name)[-1].action == DELETE
        except (FabloomError, OSError):
            return False

    def log(self, name: str) -> list[RefEntry]:
        """Everything that happened to the ref, oldest first. Raises UserError for an unknown ref, DamagedArtifact for a damaged one."""
        return self.read(name)

    def read(self, name: str) -> list[RefEntry]:
        """The log as the file has it."""
        path = self._file(name)
        if not os.path.lexists(path):
            raise UserError(f"there is no ref '{name}'.{did_you_mean(name, self.names())} Set one with `fabloom ref set NAME KEY`.")
        try:
            return entries_of(json.loads(read_regular(path)), name)
        except (ValueError, TypeError, RecursionError) as error:
            raise DamagedArtifact(f"ref '{name}' is damaged ({error}). Remove '{path}' and set it again.") from error
        except OSError as error:
            if error.errno not in {errno.ENOENT, *STRANGE}:
                raise
            raise DamagedArtifact(f"ref '{name}' is damaged ('{path}' is no file). Remove it and set the ref again.") from error

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
                raise _nowhere(name, self.read(name))  # or says that there is no such ref
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
        target = self._file(new)
        with self.alone():
            for one in (name, new):
                self.fetch(one)
            past = self.read(name)
            current = self._leaving(name, past, expected, "rename")
            if name == new or (os.path.lexists(target) and not self._is_deleted(new)):
                raise UserError(f"there is a ref '{new}' already; give another name, or delete it first")
            before = self.read(new) if os.path.lexists(target) else []
            moved = [*before, *(replace(entry, n=len(before) + entry.n) for entry in living(past))]
            made = self._append(new, moved, [("rename", current.key, why or f"was '{name}'", expected)])[-1]
            self._append(name, past, [(DELETE, current.key, why or f"renamed to '{new}'", expected)])
            return made

    def delete(self, name: str, *, expected: str | None = None, why: str = "") -> RefEntry:
        """Let the ref point at nothing. Its log stays, and goes on where the ref is set again.

        Raises UserError where it holds a key, RefMoved where `expected` is given and the ref is not there any more.
        """
        with self._writing(name) as past:
            current = self._leaving(name, past or self.read(name), expected, "delete")
            return self._append(name, past, [(DELETE, current.key, why, expected)])[-1]

    def _leaving(self, name: str, past: list[RefEntry], expected: str | None, what: str) -> RefEntry:
        """The last move of a ref that is to go, where it may."""
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
    def alone(self) -> Iterator[None]:
        """Hold the lock of all refs."""
        self.root.mkdir(parents=True, exist_ok=True)
        with locked(self.root / LOCK, lambda pid: None, lambda: False):
            yield

    def fetch(self, name: str) -> None:
        """For refs that live elsewhere: bring the file here. Called under the lock, before it is read to be changed."""

    def share(self, name: str) -> None:
        """For refs that live elsewhere: take the changed file there. Called under the lock."""

    @contextlib.contextmanager
    def _writing(self, name: str) -> Iterator[list[RefEntry]]:
        """Hold the lock and give the log as it is now."""
        path = self._file(name)
        with self.alone():
            self.fetch(name)
            yield self.read(name) if os.path.lexists(path) else []

    def _append(self, name: str, past: list[RefEntry], changes: Sequence[tuple[str, str, str, str | None]]) -> list[RefEntry]:
        for _, _, why, _ in changes:
            if not why.isascii() and any("\ud800" <= c <= "\udfff" for c in why):
                raise UserError("the reason is no text: it holds a byte that is not UTF-8")
        path, at = self._file(name), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        added = [
            RefEntry(len(past) + 1 + index, key, at, _user(), why, expected, action)
            for index, (action, key, why, expected) in enumerate(changes)
        ]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, canonical_json(_summed([*past, *added], name)))
        self.share(name)
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
        entry = RefEntry(n, item) if isinstance(item, str) else RefEntry(**{field: item[field] for field in item if field != SUM})
        texts = (entry.key, entry.at, entry.by, entry.why, entry.action, entry.expected or "")
        if not isinstance(entry.n, int) or not all(isinstance(text, str) for text in texts):
            raise ValueError("an entry with a field of another type")
        if not HEX.fullmatch(entry.key):
            raise ValueError(f"'{entry.key}' is no key")
        found.append(entry)
    if name is not None:
        for item, summed in zip(content, _summed(found, name), strict=True):
            if isinstance(item, dict) and item.get(SUM, summed[SUM]) != summed[SUM]:
                raise ValueError(f"entry {summed['n']} is not what was written")
    return found


def _summed(entries: Sequence[RefEntry], name: str) -> list[dict[str, Any]]:
    """Entries as they are written: each with a hash of itself and of the one before, the first of the ref's name.

    So a flipped bit that leaves another log (a move that is none, another key), and the log of another ref, are found on reading.
    """
    found, last = [], name
    for entry in entries:
        last = blake(canonical_json([last, asdict(entry)]))
        found.append({**asdict(entry), SUM: last})
    return found


def _raise(error: OSError) -> None:
    """For a walk: what cannot be listed is an error, what is not there is not."""
    if not isinstance(error, FileNotFoundError):
        raise error


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
