"""The store as a state machine: whatever two processes do to it, in whatever order, it holds what a plain dictionary says.

Two doors lead to one store, one in this process and one in a long-lived child that is told what to do by lines of JSON. hypothesis
chooses who does what next: make, redo, half-make and let go, remove, promote, roll back, hold, rename and delete refs, pin, collect, sweep,
verify, open and read.
An operation may be stopped midway for the other door to act, and the child may be killed at any moment or before its n-th call that
changes the disk. `World` says what must be there after each step.

    FABLOOM_MACHINE=2000 pytest tests/storage/test_store_machine.py [--hypothesis-seed=N]      a longer walk, another one each time
"""

from __future__ import annotations

import json
import os
import queue
import shutil
import signal
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule, run_state_machine_as_test

from fabloom import locks
from fabloom.errors import FabloomError
from fabloom.kinds import RowSpec
from fabloom.storage import gc, refs, verify
from fabloom.storage.backends import local
from fabloom.storage.backends.local import LocalStore
from fabloom.storage.commit import staging
from fabloom.storage.format import rows
from fabloom.storage.format.arrays import SMALL_ROW

A, B, C, D, E, F = (letter * 40 for letter in "abcdef")
MADE_FROM: dict[str, tuple[str, ...]] = {A: (), B: (A,), C: (B, A), D: (), E: (D,), F: (E, A)}
PROMOTED = (A, B, C, D)
"""Keys that refs may point at. What a ref has pointed at since it was last deleted is never rubbish; the others can be."""
NAMES = ("champion", "line/champion")
SPEC = RowSpec("uint8", (SMALL_ROW,), compress=False)
"""Rows that have a chunk each, so that two contents may begin alike, in the same chunk of one shard."""

# ------------------------------------------------------------------------------------------------------------------ what a door can do

_here = threading.local()


class Job(threading.Thread):
    """An operation in a thread of its own, which stops at a place until it is let on, and tells when it has to wait for a lock."""

    def __init__(self, work: Callable[[], Any], at: str) -> None:
        super().__init__(daemon=True)
        self.work, self.at, self.result = work, at, None
        self.told: queue.Queue[str] = queue.Queue()
        self.go = threading.Event()

    def run(self) -> None:
        _here.job = self
        self.result = self.work()
        self.told.put("done")


def stop_at(place: str, function: Any) -> Any:
    """`function`, before which a job that is to stop at this place waits."""

    def call(*given: Any, **named: Any) -> Any:
        job = getattr(_here, "job", None)
        if job is not None and job.at == place:
            job.at = ""
            job.told.put("stopped")
            job.go.wait()
        return function(*given, **named)

    return call


def sleep(seconds: float) -> None:
    """Instead of the pause between two tries of a lock."""
    job = getattr(_here, "job", None)
    if job is not None:
        job.told.put("waits")
    time.sleep(0.001)


def patched(patch: pytest.MonkeyPatch) -> None:
    """The places at which operations can be stopped."""
    patch.setattr(locks, "time", SimpleNamespace(sleep=sleep))
    patch.setattr(refs, "write_durably", stop_at("write", refs.write_durably))
    patch.setattr(gc, "discard", stop_at("discard", gc.discard))
    patch.setattr(LocalStore, "keys", stop_at("keys", LocalStore.keys))
    patch.setattr(local, "ArtifactReader", stop_at("reader", local.ArtifactReader))
    patch.setattr(rows, "OpenFile", stop_at("file", rows.OpenFile))
    patch.setattr(verify, "blake_file", stop_at("hash", verify.blake_file))


def content(value: int) -> dict[str, list[Any]]:
    """What an artifact of this value holds, of each row its least and its greatest number. All values have files of one size, and all
    rows but the last one alike."""
    return {"tensor": [value] * 3, "rows": [[7, 7], [7, 7], [7, 7], [value, value]]}


class Door:
    """A process's way to the store. Every operation takes and gives what JSON can carry."""

    def __init__(self) -> None:
        self.store: LocalStore
        self.half: dict[str, tuple[ExitStack, Any, Any]] = {}
        self.pins: dict[int, ExitStack] = {}
        self.readers: dict[int, tuple[Any, dict[str, Any]]] = {}
        self.job: Job | None = None

    def call(self, operation: str, /, **given: Any) -> Any:
        """Do it; an error that fabloom raises on purpose is an answer."""
        try:
            return getattr(self, operation)(**given)
        except FabloomError as error:
            return {"error": type(error).__name__}
        except Exception:
            return {"broken": traceback.format_exc()}

    def start(self, operation: str, at: str = "", **given: Any) -> str:
        """Begin it; says whether it is `done`, `stopped` at the place, or `waits` for a lock."""
        self.job = Job(lambda: self.call(operation, **given), at)
        self.job.start()
        return self.job.told.get(timeout=240)

    def finish(self) -> Any:
        """Let it on to its end."""
        assert self.job is not None
        self.job.go.set()
        self.job.join(240)
        assert not self.job.is_alive(), "it hangs"
        return self.job.result

    def enter(self, root: str) -> None:
        self.store = LocalStore(root)

    def leave(self) -> None:
        for number in list(self.pins):
            self.unpin(number)
        for key in list(self.half):
            self.let_go(key)
        self.readers.clear()

    # ------------------------------------------------------------------------------------------------------------------ artifacts

    def _write(self, key: str, value: int) -> tuple[Any, Any]:
        staged = self.store.stage(key)
        staged.put("tensor", np.full(3, value, np.uint8))
        writer = staged.rows(4, 2, {"rows": SPEC})
        writer.append({"rows": np.full((3 - writer.start, SMALL_ROW), 7, np.uint8)})
        return staged, writer

    def _commit(self, key: str, value: int, staged: Any, writer: Any, replace: bool) -> str:
        writer.append({"rows": np.full((1, SMALL_ROW), value, np.uint8)})
        writer.close()
        asked = {"task": "kinds.images", "inputs": {str(n): one for n, one in enumerate(MADE_FROM[key])}}
        digest: str = self.store.commit(staged, {"kind": "OfflineData", "preimage": asked}, replace=replace)["digest"]
        return digest

    def make(self, key: str, value: int, redo: bool) -> str:
        with self.store.lock(key, lambda pid: None, lambda: True) as held:
            if not held:
                return "held"
            if self.store.has(key) and not redo:
                return "there"
            return self._commit(key, value, *self._write(key, value), replace=redo)

    def begin(self, key: str, value: int) -> str:
        with ExitStack() as stack:
            if not stack.enter_context(self.store.lock(key, lambda pid: None, lambda: True)):
                return "held"
            self.half[key] = (stack.pop_all(), *self._write(key, value))
        return "begun"

    def complete(self, key: str, value: int) -> str:
        stack, staged, writer = self.half.pop(key)
        with stack:
            return self._commit(key, value, staged, writer, replace=True)

    def let_go(self, key: str) -> None:
        self.half.pop(key)[0].close()

    def remove(self, key: str) -> str:
        with self.store.lock(key, lambda pid: None, lambda: True) as held:
            if held:
                self.store.set_aside(key)
            return "removed" if held else "held"

    def state(self) -> dict[str, str]:
        return {key: self.store.manifest(key)["digest"] for key in self.store.keys()}

    def look(self, number: int, key: str) -> str:
        self.readers[number] = (self.store.get(key), {})
        return "open"

    def read(self, number: int, name: str, row: int | None) -> Any:
        artifact, arrays = self.readers[number]
        array = arrays.setdefault(name, artifact.array(name))
        found = np.asarray(array[...] if row is None or name == "tensor" else array[row])
        return (found if name == "tensor" else np.stack([found.min(-1), found.max(-1)], -1)).tolist()

    # ----------------------------------------------------------------------------------------------------------- refs, pins, rubbish

    def promote(self, name: str, key: str, expected: str | None) -> int:
        return self.store.refs.set(name, key, expected=expected).n

    def rollback(self, name: str, to: str | None, hold: bool) -> int:
        return self.store.refs.rollback(name, to=to, hold=hold).n

    def hold(self, name: str, key: str, hold: bool) -> int:
        return (self.store.refs.hold if hold else self.store.refs.unhold)(name, key).n

    def delete(self, name: str, expected: str | None) -> int:
        return self.store.refs.delete(name, expected=expected).n

    def rename(self, name: str, new: str, expected: str | None) -> int:
        return self.store.refs.rename(name, new, expected=expected).n

    def log(self, name: str) -> list[Any]:
        entries = self.store.refs.log(name)
        assert [entry.n for entry in entries] == list(range(1, len(entries) + 1))
        return [[entry.action, entry.key] for entry in entries]

    def pin(self, number: int, keys: list[str]) -> None:
        with ExitStack() as stack:
            stack.enter_context(self.store.pinned(keys))
            self.pins[number] = stack.pop_all()

    def unpin(self, number: int) -> None:
        self.pins.pop(number).close()

    def collect(self) -> list[str]:
        return gc.collect(self.store, -1.0)[0]

    def sweep(self) -> list[str]:
        return [path.relative_to(self.store.root).as_posix() for path in gc.sweep(self.store)[0]]

    def verify(self) -> dict[str, Any]:
        health = verify.verify(self.store)
        return {"problems": sorted(health.problems), "leftovers": health.leftovers, "why": health.problems}


class Child:
    """The same door in another process."""

    def __init__(self, root: str | None = None) -> None:
        asking, self._ask = os.pipe()
        self._answer, answering = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.close(self._ask), os.close(self._answer)
                serve(os.fdopen(asking), answering)
            finally:
                os._exit(1)
        os.close(asking), os.close(answering)
        self._lines = os.fdopen(self._answer)
        if root is not None:
            self.call("enter", root=root)

    def call(self, operation: str, /, **given: Any) -> Any:
        """Its answer; `{"dead": true}` where it died over the question."""
        os.write(self._ask, json.dumps([operation, given]).encode() + b"\n")
        line = self._lines.readline()
        return json.loads(line) if line else {"dead": True}

    def start(self, operation: str, at: str = "", **given: Any) -> Any:
        return self.call("start", operation=operation, at=at, **given)

    def finish(self) -> Any:
        return self.call("finish")

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._ask)
        self._lines.close()


def serve(questions: Any, answering: int) -> None:
    """The child: `doom` says before which of the next calls that change the disk it dies."""
    door, left = Door(), [0]

    def dies(function: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*given, **named)

        return call

    for name in ("rename", "replace", "unlink", "rmdir", "mkdir", "fsync"):
        setattr(os, name, dies(getattr(os, name)))
    staging.exchange = dies(staging.exchange)
    for line in questions:
        operation, given = json.loads(line)
        left[0] = given.pop("doom", 0)
        answer = door.call(operation, **given)
        os.write(answering, json.dumps(answer).encode() + b"\n")


# --------------------------------------------------------------------------------------------------------------------- what must be there


class World:
    """What the store holds, in plain Python."""

    def __init__(self) -> None:
        self.made: dict[str, int] = {}
        self.logs: dict[str, list[tuple[str, str]]] = {name: [] for name in NAMES}
        self.pins: dict[tuple[str, int], set[str]] = {}
        self.held: dict[str, tuple[str, int]] = {}
        """Keys that a door holds, half made, with the value that they will have."""
        self.torn: set[str] = set()
        """Keys of which something half made lies about that nobody holds."""
        self.readers: dict[tuple[str, int], list[Any]] = {}
        """Key, value at the opening, and whether the artifact has been another one since."""

    def put(self, key: str, value: int) -> None:
        if self.made.get(key, value) != value:
            self._outdate(key)
        self.made[key] = value
        self.torn.discard(key)

    def drop(self, key: str) -> None:
        if self.made.pop(key, None) is not None:
            self._outdate(key)

    def _outdate(self, key: str) -> None:
        for reader in self.readers.values():
            reader[2] = reader[2] or reader[0] == key

    def living(self, name: str) -> list[tuple[str, str]]:
        """What happened to a ref since it was last deleted."""
        deleted = [place for place, (action, _) in enumerate(self.logs[name]) if action == "delete"]
        return self.logs[name][deleted[-1] + 1 :] if deleted else self.logs[name]

    def moves(self, name: str) -> list[tuple[str, str]]:
        return [entry for entry in self.living(name) if entry[0] in ("set", "rollback")]

    def holds(self, name: str) -> set[str]:
        found: set[str] = set()
        for action, key in self.living(name):
            if action in ("hold", "unhold"):
                (found.add if action == "hold" else found.discard)(key)
        return found

    def leaving(self, name: str, expected: str | None) -> str | None:
        """Why a ref may not go."""
        if not self.logs[name]:
            return "UserError"
        now = self.moves(name)[-1][1] if self.moves(name) else None
        if expected is not None and expected != now:
            return "RefMoved"
        return "UserError" if self.holds(name) or now is None else None

    def delete(self, name: str, expected: str | None) -> str | None:
        error = self.leaving(name, expected)
        if error is None:
            self.logs[name].append(("delete", self.moves(name)[-1][1]))
        return error

    def rename(self, name: str, new: str, expected: str | None) -> str | None:
        error = self.leaving(name, expected)
        if error is None and self.logs[new] and self.logs[new][-1][0] != "delete":
            error = "UserError"
        if error is None:
            self.logs[new] += [*self.living(name), ("rename", self.moves(name)[-1][1])]
            self.delete(name, None)
        return error

    def promote(self, name: str, key: str, expected: str | None) -> str | None:
        now = self.moves(name)[-1][1] if self.moves(name) else None
        if expected is not None and expected != now:
            return "RefMoved"
        if now != key:
            self.logs[name].append(("set", key))
        return None

    def rollback(self, name: str, to: str | None, hold: bool) -> str | None:
        path: list[str] = []
        for action, key in self.moves(name):
            path = path[: path.index(key) + 1] if action == "rollback" and key in path else [*path, key]
        now = self.moves(name)[-1][1] if self.moves(name) else None
        target = to or (path[-2] if len(path) > 1 else None)
        if target in (None, now) or target not in {key for _, key in self.moves(name)}:
            return "UserError"
        self.logs[name] += [("rollback", str(target)), *([("hold", str(now))] if hold else [])]
        return None

    def lineage(self, keys: set[str]) -> set[str]:
        found: set[str] = set()
        todo = [key for key in keys if key in self.made]
        while todo:
            key = todo.pop()
            if key not in found:
                found.add(key)
                todo += [one for one in MADE_FROM[key] if one in self.made]
        return found

    def rubbish(self) -> set[str]:
        """What a collection takes: neither a pin nor a ref leads there, and nobody holds it or what was made from it."""
        wanted = set().union(*self.pins.values(), *({key for _, key in self.moves(name)} for name in NAMES))
        free = set(self.made) - wanted - self.lineage(wanted)
        return free - self.lineage({key for key in free if key in self.held})

    def problems(self) -> set[str]:
        found = {key for key in self.made if any(one not in self.made for one in MADE_FROM[key])}
        return found | {f"ref {name}" for name in NAMES if self.moves(name) and self.moves(name)[-1][1] not in self.made}

    def forget(self, door: str) -> None:
        """What goes with a process."""
        self.torn |= {key for key, (by, _) in self.held.items() if by == door}
        self.held = {key: held for key, held in self.held.items() if held[0] != door}
        self.pins = {name: keys for name, keys in self.pins.items() if name[0] != door}
        self.readers = {name: reader for name, reader in self.readers.items() if name[0] != door}


def left_behind(root: Path, world: World) -> set[str]:
    """What lies in the store that no committed artifact, no ref and no living holder accounts for."""
    found = {f"{room}/{path.name}" for room in ("staging", "work") for path in (root / room).iterdir() if path.name not in world.held}
    living = {f"{key}.lock" for key in world.held}
    pins = {path.name for path in (root / "locks").glob("run-*.lock") if locks.is_held(path)}
    assert len(pins) == len(world.pins)
    found |= {f"locks/{path.name}" for path in (root / "locks").iterdir() if path.name not in living | pins}
    found |= {path.relative_to(root).as_posix() for path in (root / "refs").rglob("*") if path.is_file() and path.suffix != ".json"}
    found |= {path.name for path in root.iterdir() if path.is_file() and path.name != "store.json"}
    return found


MEMORY = "/dev/shm"
"""Where it is there: what is tested is the order of things, and a disk would take most of the time for fsync."""
KEYS, VALUES, DOORS = st.sampled_from(sorted(MADE_FROM)), st.integers(0, 2), st.sampled_from(["here", "there"])
MOVED = st.sampled_from(PROMOTED)
REFS, SLOTS, POINTS = st.sampled_from(NAMES), st.integers(0, 2), st.sampled_from([*range(26, 46), *range(1, 26)])


class StoreMachine(RuleBasedStateMachine):
    """Both doors, and the world that the store is held against after every step."""

    child: Child

    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp(prefix="fabloom-machine-", dir=MEMORY if os.access(MEMORY, os.W_OK) else None))
        self.world = World()
        self.digests: dict[int, str] = {}
        self.here = Door()
        self.here.enter(str(self.root))
        self.ask("there", "enter", root=str(self.root))

    def ask(self, door: str, operation: str, **given: Any) -> Any:
        self.agreed = False
        answer = (self.here if door == "here" else StoreMachine.child).call(operation, **given)
        assert not isinstance(answer, dict) or "broken" not in answer, answer["broken"]
        return answer

    def door(self, name: str) -> Any:
        return self.here if name == "here" else StoreMachine.child

    def both(self, first: str, one: dict[str, Any], at: str, two: dict[str, Any]) -> tuple[Any, Any, bool]:
        """Begin `one` at this door, do `two` at the other while it stands, let it on. (answers, whether the second came in between)"""
        self.agreed = False
        second = "there" if first == "here" else "here"
        if self.door(first).start(at=at, **one) == "stopped":
            between = self.door(second).start(**two) == "done"
            answers = self.door(first).finish(), self.door(second).finish()
        else:
            between = False
            answers = self.door(first).finish(), self.ask(second, **two)
        for answer in answers:
            assert not isinstance(answer, dict) or "broken" not in answer, answer["broken"]
        return *answers, between

    def committed(self, key: str, value: int, digest: str) -> None:
        assert self.digests.setdefault(value, digest) == digest, "equal content, another digest"
        assert len(set(self.digests.values())) == len(self.digests), "other content, the same digest"
        self.world.put(key, value)

    # ------------------------------------------------------------------------------------------------------------------ artifacts

    @initialize(keys=st.permutations(sorted(MADE_FROM)), value=VALUES)
    def begin_with_something(self, keys: list[str], value: int) -> None:
        """Five artifacts, two of them open."""
        for key in keys[:5]:
            self.make("here", key, value, False)
        self.look("here", 0, keys[0])
        self.look("there", 0, keys[1])

    @rule(door=DOORS, key=KEYS, value=VALUES, redo=st.booleans())
    def make(self, door: str, key: str, value: int, redo: bool) -> None:
        answer = self.ask(door, "make", key=key, value=value, redo=redo)
        if key in self.world.held:
            assert answer == "held"
        elif key in self.world.made and not redo:
            assert answer == "there"
        else:
            self.committed(key, value, answer)

    @rule(door=DOORS, key=KEYS, value=VALUES)
    def begin(self, door: str, key: str, value: int) -> None:
        answer = self.ask(door, "begin", key=key, value=value)
        assert answer == ("held" if key in self.world.held else "begun")
        if answer == "begun":
            self.world.held[key] = (door, value)
            self.world.torn.discard(key)

    @precondition(lambda self: self.world.held)
    @rule(chosen=st.integers(0, 5), complete=st.booleans())
    def end(self, chosen: int, complete: bool) -> None:
        key = sorted(self.world.held)[chosen % len(self.world.held)]
        door, value = self.world.held.pop(key)
        if complete:
            self.committed(key, value, self.ask(door, "complete", key=key, value=value))
        else:
            self.ask(door, "let_go", key=key)
            self.world.torn.add(key)

    @rule(door=DOORS, key=KEYS)
    def remove(self, door: str, key: str) -> None:
        assert self.ask(door, "remove", key=key) == ("held" if key in self.world.held else "removed")
        if key not in self.world.held:
            self.world.drop(key)

    @precondition(lambda self: self.world.made)
    @rule(door=DOORS, slot=SLOTS, chosen=st.integers(0, 5))
    def look_and_redo(self, door: str, slot: int, chosen: int) -> None:
        """An open reader, and another content a moment later."""
        key = sorted(self.world.made)[chosen % len(self.world.made)]
        self.look(door, slot, key)
        self.make("there" if door == "here" else "here", key, (self.world.made[key] + 1) % 3, True)

    @rule(door=DOORS, slot=SLOTS, key=KEYS)
    def look(self, door: str, slot: int, key: str) -> None:
        answer = self.ask(door, "look", number=slot, key=key)
        if key not in self.world.made:
            assert answer == {"error": "UserError"}
        else:
            assert answer == "open"
            self.world.readers[door, slot] = [key, self.world.made[key], False]

    def judge(self, reader: list[Any], answer: Any, name: str, row: int | None) -> None:
        """An open reader gives what was there when it was opened, or says that it cannot; it must where nothing has changed."""
        _, value, changed = reader
        wanted = content(value)[name] if row is None or name == "tensor" else content(value)[name][row]
        assert answer == wanted or (changed and answer in ({"error": "DamagedArtifact"}, {"error": "UserError"})), (answer, wanted, changed)

    @precondition(lambda self: self.world.readers)
    @rule(chosen=st.integers(0, 5), name=st.sampled_from(["tensor", "rows"]), row=st.none() | st.integers(0, 3))
    def read(self, chosen: int, name: str, row: int | None) -> None:
        door, slot = sorted(self.world.readers)[chosen % len(self.world.readers)]
        answer = self.ask(door, "read", number=slot, name=name, row=row)
        self.judge(self.world.readers[door, slot], answer, name, row)

    # ------------------------------------------------------------------------------------------------------------------------- refs

    @rule(door=DOORS, name=REFS, key=MOVED, expected=st.none() | MOVED)
    def promote(self, door: str, name: str, key: str, expected: str | None) -> None:
        self.agree(self.ask(door, "promote", name=name, key=key, expected=expected), self.world.promote(name, key, expected))

    @rule(door=DOORS, name=REFS, to=st.none() | MOVED, hold=st.booleans())
    def rollback(self, door: str, name: str, to: str | None, hold: bool) -> None:
        self.agree(self.ask(door, "rollback", name=name, to=to, hold=hold), self.world.rollback(name, to, hold))

    @rule(door=DOORS, name=REFS, key=KEYS, hold=st.booleans())
    def hold(self, door: str, name: str, key: str, hold: bool) -> None:
        self.ask(door, "hold", name=name, key=key, hold=hold)
        self.world.logs[name].append(("hold" if hold else "unhold", key))

    @rule(door=DOORS, name=REFS, expected=st.none() | MOVED)
    def delete(self, door: str, name: str, expected: str | None) -> None:
        self.agree(self.ask(door, "delete", name=name, expected=expected), self.world.delete(name, expected))

    @rule(door=DOORS, names=st.permutations(NAMES), expected=st.none() | MOVED)
    def rename(self, door: str, names: list[str], expected: str | None) -> None:
        name, new = names
        self.agree(self.ask(door, "rename", name=name, new=new, expected=expected), self.world.rename(name, new, expected))

    @rule(door=DOORS, names=st.permutations(NAMES), key=MOVED)
    def rename_where_it_may(self, door: str, names: list[str], key: str) -> None:
        """Nothing is held, and the other name is free."""
        for name in names:
            for held in sorted(self.world.holds(name)):
                self.hold(door, name, held, False)
        if self.world.moves(names[1]):
            self.delete(door, names[1], None)
        self.promote(door, names[0], key, None)
        self.rename("there" if door == "here" else "here", names, key)

    def agree(self, answer: Any, error: str | None) -> None:
        assert answer == {"error": error} if error else isinstance(answer, int), (answer, error)

    @rule(door=DOORS, names=st.tuples(REFS, REFS), keys=st.tuples(MOVED, MOVED), expected=st.none() | MOVED)
    def promote_at_once(self, door: str, names: tuple[str, str], keys: tuple[str, str], expected: str | None) -> None:
        """The second one finds the first before its writing, and has to wait."""
        one = {"operation": "promote", "name": names[0], "key": keys[0], "expected": None}
        two = {"operation": "promote", "name": names[1], "key": keys[1], "expected": expected}
        first, second, between = self.both(door, one, "write", two)
        for given, answer in ((two, second), (one, first)) if between else ((one, first), (two, second)):
            self.agree(answer, self.world.promote(given["name"], given["key"], given["expected"]))  # type: ignore[arg-type]

    # ---------------------------------------------------------------------------------------------------------------- pins and rubbish

    @rule(door=DOORS, slot=SLOTS, keys=st.sets(KEYS, min_size=1, max_size=2))
    def pin(self, door: str, slot: int, keys: set[str]) -> None:
        self.unpin(door, slot)
        self.ask(door, "pin", number=slot, keys=sorted(keys))
        self.world.pins[door, slot] = keys

    @rule(door=DOORS, slot=SLOTS)
    def unpin(self, door: str, slot: int) -> None:
        if self.world.pins.pop((door, slot), None):
            self.ask(door, "unpin", number=slot)

    def collected(self, answer: Any) -> None:
        rubbish = self.world.rubbish()
        assert sorted(answer) == sorted(rubbish)
        for key in rubbish:
            self.world.drop(key)

    @rule(door=DOORS)
    def collect(self, door: str) -> None:
        self.collected(self.ask(door, "collect"))

    @precondition(lambda self: self.world.rubbish())
    @rule(door=DOORS, chosen=st.integers(0, 5), value=VALUES, complete=st.booleans())
    def collect_while_redoing(self, door: str, chosen: int, value: int, complete: bool) -> None:
        """What somebody holds stays, with what it was made from."""
        key = sorted(self.world.rubbish())[chosen % len(self.world.rubbish())]
        self.begin("there" if door == "here" else "here", key, value)
        self.collect(door)
        self.end(sorted(self.world.held).index(key), complete)

    @rule(door=DOORS)
    def sweep(self, door: str) -> None:
        self.ask(door, "sweep")
        self.world.torn.clear()
        assert not left_behind(self.root, self.world)

    @rule(door=DOORS, slot=SLOTS, keys=st.sets(KEYS, min_size=1, max_size=2))
    def pin_while_collecting(self, door: str, slot: int, keys: set[str]) -> None:
        """Who says what it needs while somebody decides waits for that; what it found pinned stays."""
        second = "there" if door == "here" else "here"
        self.unpin(second, slot)
        first, _, between = self.both(door, {"operation": "collect"}, "discard", {"operation": "pin", "number": slot, "keys": sorted(keys)})
        if between:
            self.world.pins[second, slot] = keys
        self.collected(first)
        self.world.pins[second, slot] = keys

    @rule(door=DOORS, slot=SLOTS, key=KEYS, value=VALUES)
    def make_while_collecting(self, door: str, slot: int, key: str, value: int) -> None:
        """What a run makes and has said before is not taken, whenever it comes."""
        second = "there" if door == "here" else "here"
        self.pin(second, slot, {key, *MADE_FROM[key]})
        two = {"operation": "make", "key": key, "value": value, "redo": True}
        first, answer, _ = self.both(door, {"operation": "collect"}, "keys", two)
        if key in self.world.held:
            assert answer == "held"
        else:
            self.committed(key, value, answer)
        self.collected(first)

    # ------------------------------------------------------------------------------------------------------------- looking meanwhile

    @precondition(lambda self: self.world.readers)
    @rule(chosen=st.integers(0, 5), name=st.sampled_from(["tensor", "rows"]), value=VALUES)
    def redo_while_reading(self, chosen: int, name: str, value: int) -> None:
        door, slot = sorted(self.world.readers)[chosen % len(self.world.readers)]
        reader = self.world.readers[door, slot]
        if reader[0] in self.world.held:
            return
        one = {"operation": "read", "number": slot, "name": name, "row": None}
        first, digest, _ = self.both(door, one, "file", {"operation": "make", "key": reader[0], "value": value, "redo": True})
        self.committed(reader[0], value, digest)
        self.judge(reader, first, name, None)

    @rule(door=DOORS, slot=SLOTS, key=KEYS, value=VALUES)
    def redo_while_opening(self, door: str, slot: int, key: str, value: int) -> None:
        if key in self.world.held or key not in self.world.made:
            return
        before = self.world.made[key]
        one = {"operation": "look", "number": slot, "key": key}
        first, digest, _ = self.both(door, one, "reader", {"operation": "make", "key": key, "value": value, "redo": True})
        self.committed(key, value, digest)
        assert first == "open"
        self.world.readers[door, slot] = [key, before, before != value]

    @rule(door=DOORS, key=st.none() | KEYS, value=st.none() | VALUES)
    def change_while_verifying(self, door: str, key: str | None, value: int | None) -> None:
        """Nothing is found but what was the matter before or after; without a key it is the artifact that is just being looked at."""
        key = key or min(self.world.made, default=A)
        if key in self.world.held:
            return
        before = self.world.problems()
        two = {"operation": "remove", "key": key} if value is None else {"operation": "make", "key": key, "value": value, "redo": True}
        first, answer, _ = self.both(door, {"operation": "verify"}, "hash", two)
        if value is None:
            self.world.drop(key)
        else:
            self.committed(key, value, answer)
        assert before & self.world.problems() <= set(first["problems"]) <= before | self.world.problems(), first["why"]

    @rule(door=DOORS)
    def verify(self, door: str) -> None:
        found = self.ask(door, "verify")
        assert set(found["problems"]) == self.world.problems(), found["why"]
        assert left_behind(self.root, self.world) <= set(found["leftovers"])
        assert {name.partition("/")[2] for name in found["leftovers"] if name.startswith("staging/")} == self.world.torn

    # ------------------------------------------------------------------------------------------------------------------------- death

    @rule()
    def kill(self) -> None:
        """Its locks and pins go with it, and what it had half made is left."""
        StoreMachine.child.kill()
        self.world.forget("there")
        StoreMachine.child = Child(str(self.root))

    @precondition(lambda self: self.world.made)
    @rule(chosen=st.integers(0, 5), value=VALUES, point=POINTS)
    def die_in_redo(self, chosen: int, value: int, point: int) -> None:
        """Whenever it dies, the old one or the new one is there, whole. A redo is sixty calls long, and changes its mind at the fortieth."""
        key = sorted(self.world.made)[chosen % len(self.world.made)]
        for later in (0, 12):
            self._dies_in_redo(key, value, point + later)

    def _dies_in_redo(self, key: str, value: int, point: int) -> None:
        answer = self.ask("there", "make", key=key, value=value, redo=True, doom=point)
        if answer != {"dead": True}:
            if answer != "held":
                self.committed(key, value, answer)
            return
        self.died()
        self.ask("here", "sweep")
        self.world.torn.clear()
        digest = self.here.state().get(key)
        assert digest is not None, "lost"
        if digest != self.digests[self.world.made[key]]:
            self.committed(key, value, digest)
        self.verify("here")

    @rule(name=REFS, key=MOVED, point=st.integers(1, 6))
    def die_in_promotion(self, name: str, key: str, point: int) -> None:
        answer = self.ask("there", "promote", name=name, key=key, expected=None, doom=point)
        if answer != {"dead": True}:
            self.agree(answer, self.world.promote(name, key, None))
            return
        self.died()
        if self.here.call("log", name=name) != self.told(name):
            self.world.promote(name, key, None)

    @rule(names=st.permutations(NAMES), point=st.integers(1, 12))
    def die_in_rename(self, names: list[str], point: int) -> None:
        """The new name is there first: at every moment one of them has the whole log."""
        name, new = names
        answer = self.ask("there", "rename", name=name, new=new, expected=None, doom=point)
        if answer != {"dead": True}:
            self.agree(answer, self.world.rename(name, new, None))
            return
        self.died()
        before = {one: list(self.world.logs[one]) for one in names}
        if self.world.rename(name, new, None) is None:
            for one in names:
                if self.here.call("log", name=one) != self.told(one):
                    self.world.logs[one] = before[one]
            assert self.world.logs[new] != before[new] or self.world.logs[name] == before[name], "lost"

    @rule(sweep=st.booleans(), point=st.integers(1, 25))
    def die_in_gc(self, sweep: bool, point: int) -> None:
        answer = self.ask("there", "sweep" if sweep else "collect", doom=point)
        if answer != {"dead": True}:
            if sweep:
                self.world.torn.clear()
            else:
                self.collected(answer)
            return
        rubbish = set() if sweep else self.world.rubbish()
        self.died()
        self.ask("here", "sweep")
        self.world.torn.clear()
        gone = set(self.world.made) - set(self.here.state())
        assert gone <= rubbish
        for key in gone:
            self.world.drop(key)
        self.verify("here")

    def died(self) -> None:
        """It died by itself: everything that it left is told."""
        self.kill()
        found = self.here.call("verify")
        assert left_behind(self.root, self.world) <= set(found["leftovers"])

    # -------------------------------------------------------------------------------------------------------------------------- always

    def told(self, name: str) -> Any:
        """What asking for the log must give."""
        return [list(entry) for entry in self.world.logs[name]] or {"error": "UserError"}

    @invariant()
    def the_store_holds_what_the_world_says(self) -> None:
        assert self.here.call("state") == {key: self.digests[value] for key, value in sorted(self.world.made.items())}
        for name in NAMES:
            assert self.here.call("log", name=name) == self.told(name)
        self.agreed = True

    def teardown(self) -> None:
        try:
            if not self.agreed:  # it has failed: the child is in no state to go on
                StoreMachine.child.kill()
                StoreMachine.child = Child()
                return
            self.here.leave()
            if StoreMachine.child.call("leave") == {"dead": True}:
                StoreMachine.child = Child()
            for door in ("here", "there"):
                self.world.forget(door)
            self.here.call("sweep")
            assert not left_behind(self.root, self.world)
            assert self.here.call("verify")["leftovers"] == []
        finally:
            shutil.rmtree(self.root)


@pytest.fixture
def child() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patched(patch)
        StoreMachine.child = Child()
        yield
        StoreMachine.child.kill()


LONG = int(os.environ.get("FABLOOM_MACHINE", "0"))


def test_two_processes_and_a_dictionary_agree(child: None) -> None:
    run_state_machine_as_test(
        StoreMachine,
        settings=settings(
            max_examples=LONG or 40,
            stateful_step_count=50 if LONG else 20,
            derandomize=not LONG,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
