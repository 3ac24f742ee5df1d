"""A line: at most one night at work on it, and the log of what its nights decided."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

from fabloom.errors import UserError
from fabloom.hashing import blake
from fabloom.kinds.memory import Held
from fabloom.notes import read_note, write_note
from fabloom.planning.given import put
from fabloom.regular import clear

from .decision import Decision, Record

if TYPE_CHECKING:
    from fabloom.kinds.store import RefEntry, Store

HOLDER = "line.json"
"""In the work folder of a line's key, while a night holds it: who that is."""
DECIDED = "decision "
"""What the reason of a promotion in the champion's log begins with; the decision's key follows."""


def key_of(line: str) -> str:
    """The key that stands for the line in the store's locks and work folders; nothing is ever committed under it."""
    return blake(f"line {line}".encode())


@contextlib.contextmanager
def at_work(store: Store, line: str, run: str) -> Iterator[str]:
    """Hold the line, without waiting. Yields '' while it is held, or who holds it instead. A killed holder holds nothing."""
    key, seen = key_of(line), list[str]()
    asked = iter((False,))  # once is enough to learn who holds it
    with store.lock(key, seen.append, lambda: next(asked, True)) as held:
        if not held:
            yield _told(read_note(store.work(key) / HOLDER), seen[0] if seen else "")
            return
        work = store.work(key)
        work.mkdir(parents=True, exist_ok=True)
        write_note(work / HOLDER, {"pid": os.getpid(), "host": socket.gethostname(), "run": run}, lasting=False)
        try:
            yield ""
        finally:
            clear(work)


def _told(note: dict[str, object] | None, who: str) -> str:
    """Who holds a line, by what it wrote down; where that is an older holder's, or nothing, by what the lock says."""
    if note and (not who.isdecimal() or str(note.get("pid")) == who):
        return f"process {note.get('pid')} on {note.get('host')}, run '{note.get('run')}'"
    return f"process {who}" if who.isdecimal() else who or "another process, not to be seen from here"


def pointed(store: Store, ref: str) -> str:
    """The key that a ref points at, '' where there is none."""
    return next(reversed(store.refs.history(ref)), "") if ref in store.refs.names() else ""


def held_back(store: Store, ref: str) -> frozenset[str]:
    """Keys that a ref holds back; none where there is no such ref."""
    return store.refs.held(ref) if ref in store.refs.names() else frozenset()


def keep(store: Store, record: Record) -> str:
    """Commit a decision and return its key. It is found by its line once `note_down` was called."""
    return put(store, Decision.write(Held(), record)).key


def note_down(store: Store, line: str, key: str, why: str) -> None:
    """Make a decision the newest of its line."""
    store.refs.set(f"{line}/decision", key, why=why)


def mend(store: Store, line: str) -> None:
    """Note down the decision of a night that was killed between its promotion and this."""
    champion, decision = f"{line}/champion", f"{line}/decision"
    if champion not in store.refs.names():
        return
    last = store.refs.log(champion)[-1]
    if last.action != "set" or not last.why.startswith(DECIDED):
        return
    with contextlib.suppress(UserError):  # the artifact was removed since
        key = store.resolve(f"key:{last.why.removeprefix(DECIDED).partition(':')[0]}")
        if decision not in store.refs.names() or key not in store.refs.history(decision):
            note_down(store, line, key, "noted down by the next night")


def lines(store: Store) -> list[str]:
    """Names of the lines that have had a night."""
    return sorted(name.removesuffix("/decision") for name in store.refs.names() if name.endswith("/decision"))


def no_night(store: Store, line: str) -> UserError:
    """What to say of a line without a night."""
    known = lines(store)
    others = f" Lines with nights: {', '.join(known)}." if known else ""
    return UserError(f"line '{line}' has had no night in '{store.url}'.{others} `fabloom retrain SPEC` makes one.")


def decisions(store: Store, line: str) -> list[tuple[RefEntry, Record]]:
    """What the nights of a line decided, oldest first; the entry says when, and the decision's key. What is gone is left out."""
    return [*latest(store, line)][::-1]


def latest(store: Store, line: str) -> Iterator[tuple[RefEntry, Record]]:
    """The same, newest first; each is read when it is asked for."""
    name = f"{line}/decision"
    for entry in reversed(store.refs.log(name)) if name in store.refs.names() else ():
        artifact = store.get(entry.key) if entry.action == "set" and store.has(entry.key) else None
        if isinstance(artifact, Decision):
            yield entry, artifact.record
