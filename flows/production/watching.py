"""Whether what a line is made of has changed since its last night, and has come to rest: a pure step over a few remembered words."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from fabloom.hashing import blake, canonical_json
from fabloom.notes import read_note, write_note

from .line import held_back, key_of, pointed
from .preparing import prepare

if TYPE_CHECKING:
    from fabloom.kinds.store import Store
    from fabloom.registry import Registry

    from .spec import Spec

Sight = Literal["due", "settling", "unchanged"]


@dataclass(frozen=True)
class Watch:
    """What is remembered between two looks: the state that the last night took, the one seen last, and since when (Unix time)."""

    done: str = ""
    seen: str = ""
    since: float = 0.0


def look(watch: Watch, state: str, now: float, settle: float) -> tuple[Watch, Sight]:
    """What a look at `state` means: due once it is another than the last night's and was seen unchanged for `settle` seconds.

    A clock that was set back begins the wait anew.
    """
    if state == watch.done:
        return replace(watch, seen=state, since=now), "unchanged"
    if state != watch.seen or now < watch.since:
        watch = replace(watch, seen=state, since=now)
    return watch, "due" if now - watch.since >= settle else "settling"


def taken(watch: Watch, state: str) -> Watch:
    """What is remembered once a night took that state."""
    return replace(watch, done=state)


def state_of(spec: Spec, registry: Registry, store: Store, seed: int | None = None) -> str:
    """What is watched, as one hash: contents of folders and files, keys of refs. Unchanged files cost one stat each.

    Where the specification watches nothing by name it is the challenger's and the held-out set's key: everything that enters them.
    What else a night decides by is in it always: the specification (its gate, check, and so on), the seed, and the keys that are held
    back. Raises DataError for a path that is not there.
    """
    if spec.watch:
        seen = [[one, _one(one, store)] for one in spec.watch]
    else:
        ready = prepare(spec, registry, store, seed=seed)
        seen = [[ready.challenger, ready.test]]
    return blake(canonical_json([seen, spec.model_dump(mode="json"), sorted(held_back(store, spec.champion)), seed]))


def _one(watched: str, store: Store) -> str:
    return pointed(store, watched.removeprefix("ref:")) if watched.startswith("ref:") else store.hasher(Path(watched))


def remembered(store: Store, line: str) -> Watch:
    """What the last look left; nothing where it is lost, which costs a night that finds no change."""
    note = read_note(_file(store, line)) or {}
    return Watch(str(note.get("done", "")), str(note.get("seen", "")), float(note.get("since", 0.0)))


def remember(store: Store, line: str, watch: Watch) -> None:
    """Keep it for the next look."""
    file = _file(store, line)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_note(file, asdict(watch), lasting=False)


def _file(store: Store, line: str) -> Path:
    """Beside the work folders, which are taken away when nobody is at work."""
    return store.work(key_of(line)).parent / f"watch-{line}.json"
