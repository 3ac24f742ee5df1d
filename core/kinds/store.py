"""`Store`, what everything above asks of a place for artifacts, and `Refs`, its mutable names.

The contract is written here and nowhere else; `fabloom.testing.StoreConformance` holds a store to it. What the types cannot say:

* an artifact is whole or not there: `commit` makes it visible at once, and a kill at any moment before leaves nothing;
* the first commit of a key stays; a second one is dropped, and returns the first one's manifest, or takes its place with `replace`;
* what is read was committed: a damaged byte raises DamagedArtifact, and never gives another value;
* what is handed out cannot be changed through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from fabloom.params import SourceHasher

from .artifact import Artifact, Staging


@dataclass(frozen=True)
class RefEntry:
    """One line of a ref's log. `n` counts from 1; `at` is UTC (empty in entries older than the log); `expected` is what a promotion
    was decided against; `action` is set, rollback, hold, unhold, rename or delete. The first two move the ref to `key`; a rename says under
    which name the log began; after a delete the ref begins anew, with what happened before still in its log.
    """

    n: int
    key: str
    at: str = ""
    by: str = ""
    why: str = ""
    expected: str | None = None
    action: str = "set"


class Refs(Protocol):
    """Mutable names for artifacts: an append-only log each. Names are parts of letters, digits, '_', '.', '-', joined by '/'.

    Every method raises UserError for an unknown or unsafe name.
    """

    def names(self) -> list[str]: ...
    def get(self, name: str) -> str: ...
    def log(self, name: str) -> list[RefEntry]:
        """Everything that happened to the ref, oldest first; nothing is ever taken out."""
        ...

    def history(self, name: str) -> list[str]:
        """Keys that the ref has pointed at, oldest first."""
        ...

    def set(self, name: str, key: str, *, expected: str | None = None, why: str = "") -> RefEntry:
        """Point the ref at `key`. Raises RefMoved where `expected` is given and the ref is not there any more; '' expects nothing."""
        ...

    def rollback(self, name: str, *, to: str | None = None, hold: bool = True, why: str = "") -> RefEntry:
        """Append a move back, to the key before this one or to `to`; `hold` keeps what was left from being promoted again."""
        ...

    def hold(self, name: str, key: str, *, why: str = "") -> RefEntry: ...
    def unhold(self, name: str, key: str, *, why: str = "") -> RefEntry: ...
    def rename(self, name: str, new: str, *, expected: str | None = None, why: str = "") -> RefEntry:
        """Give the ref another name, with all of its log; the old name's log says so. UserError where it is held, or `new` is taken."""
        ...

    def delete(self, name: str, *, expected: str | None = None, why: str = "") -> RefEntry:
        """Let the ref point at nothing; its log stays. Raises UserError while it holds a key, RefMoved as `set`."""
        ...

    def held(self, name: str) -> frozenset[str]:
        """Keys that are not to be promoted."""
        ...


class Store(Protocol):
    """Committed artifacts by key, what is needed to make one, and names for them.

    Keys are 40 hexadecimal digits. `kinds` is what the store can hand out; the registry adds those of plugins. Writing to a store
    that was opened read-only raises EnvironmentProblem.
    """

    kinds: dict[str, type[Artifact]]

    @property
    def url(self) -> str:
        """What `--store` takes to open this store again, in another process too. No secret is in it."""
        ...

    @property
    def read_only(self) -> bool: ...
    @property
    def hasher(self) -> SourceHasher: ...
    @property
    def refs(self) -> Refs: ...
    @property
    def pages(self) -> Path:
        """A folder of this machine for report pages: views, which `gc` may remove."""
        ...

    def keys(self) -> Iterator[str]:
        """All committed keys, sorted."""
        ...

    def has(self, key: str) -> bool: ...
    def manifest(self, key: str) -> dict[str, Any]:
        """Raises UserError for an unknown key, DamagedArtifact for a damaged manifest."""
        ...

    def get(self, key: str) -> Artifact:
        """The artifact, of its kind's class. Raises as `manifest`, and PluginError for a kind that nothing installed declares."""
        ...

    def committed_at(self, key: str) -> float:
        """Unix time of the commit."""
        ...

    def resolve(self, text: str) -> str:
        """The key that a key, a unique beginning of one (6 characters), `ref:NAME`, `key:HEX` or a ref's name stands for."""
        ...

    def lineage(self, key: str) -> dict[str, dict[str, Any]]:
        """Manifests of the artifact and everything that it was made from, nearest first; what is gone is left out."""
        ...

    def folder(self, key: str) -> Path:
        """Where the artifact's files are on this machine, for who copies them; need not exist."""
        ...

    def lock(self, key: str, waiting: Callable[[str], None], stop: Callable[[], bool]) -> AbstractContextManager[bool]:
        """Hold the key: one holder at a time. `waiting(who)` is called for each holder that it must wait for, with the number of a
        living process, words, or nothing; yields False if `stop()` ended that.
        """
        ...

    def work(self, key: str) -> Path:
        """Scratch folder of a step, for its checkpoints: survives a kill, goes with the commit."""
        ...

    def stage(self, key: str) -> Staging:
        """Begin, or go on with, writing the artifact. The caller holds the key."""
        ...

    def commit(self, staged: Staging, facts: Mapping[str, Any], *, replace: bool = False) -> dict[str, Any]:
        """Make what was staged visible and return its manifest: `facts` and what is known of the content.

        With `replace` it takes the place of an earlier commit of the key, which is there until then.
        """
        ...

    def pinned(self, keys: Iterable[str]) -> AbstractContextManager[None]:
        """Say what a run reads: `gc` leaves it alone until the end of the block, or of this process."""
        ...

    def set_aside(self, key: str) -> None:
        """Take a committed artifact out of the store, so that its step runs again."""
        ...


MEMBERS = tuple(name for name in (*Store.__annotations__, *vars(Store)) if not name.startswith("_"))
"""What an object must have to be a store."""
