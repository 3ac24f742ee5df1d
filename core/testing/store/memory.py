"""A store in memory, for an author's own quick tests: nothing on disk but the scratch folders of running steps."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.errors import UserError
from fabloom.hashing import blake, canonical_json
from fabloom.kinds.memory import MemoryReader, MemoryStaging
from fabloom.planning.sources import SourceCache
from fabloom.storage.backends.base import BaseStore
from fabloom.storage.commit.names import SAFE_NAME
from fabloom.storage.refs import LocalRefs

if TYPE_CHECKING:
    from numpy.typing import NDArray


class CheckedStaging(MemoryStaging):
    """As strict about names as a store on disk."""

    def put(self, name: str, value: NDArray[Any], attrs: Mapping[str, Any] | None = None) -> None:
        """Keep a copy of a whole array. Raises ValueError for a name that no store could take."""
        if not SAFE_NAME.fullmatch(name):
            raise ValueError(f"'{name}' is no safe array name: letters, digits, '_', '.', '-' only")
        super().put(name, value, attrs)


class MemoryStore(BaseStore):
    """A `Store` in memory for the inline engine and `run_task`. Not for worker processes: they could not see it."""

    def __init__(self) -> None:
        super().__init__()
        self.committed: dict[str, tuple[dict[str, Any], MemoryReader]] = {}
        self.hasher = SourceCache()
        self._scratch = tempfile.TemporaryDirectory(prefix="fabloom-")
        self.refs = LocalRefs(Path(self._scratch.name) / "refs")
        self._times: dict[str, float] = {}
        self._locks: dict[str, threading.Lock] = {}
        self._guard = threading.Lock()

    @property
    def url(self) -> str:
        """A name; it opens nothing."""
        return "memory"

    @property
    def pages(self) -> Path:
        """Where report pages lie, as long as this store lives."""
        return Path(self._scratch.name) / "reports"

    def opened_read_only(self) -> MemoryStore:
        """The same content, for reading only."""
        view = copy.copy(self)
        view.read_only = True
        return view

    def keys(self) -> Iterator[str]:
        """All committed keys, sorted."""
        yield from sorted(self.committed)

    def has(self, key: str) -> bool:
        """True once the artifact is committed."""
        return key in self.committed

    def manifest(self, key: str) -> dict[str, Any]:
        """The manifest. Raises UserError for an unknown key."""
        if key not in self.committed:
            raise UserError(f"there is no artifact {key} in this memory store")
        return copy.deepcopy(self.committed[key][0])

    def reader(self, key: str, manifest: Mapping[str, Any]) -> MemoryReader:
        """What was committed."""
        return self.committed[key][1]

    def committed_at(self, key: str) -> float:
        """Unix time of the commit."""
        self.manifest(key)
        return self._times[key]

    @contextmanager
    def lock(self, key: str, waiting: Callable[[str], None], stop: Callable[[], bool]) -> Iterator[bool]:
        """Hold the key against other threads; yields False if `stop()` ended the wait."""
        self.writable()
        with self._guard:
            lock = self._locks.setdefault(key, threading.Lock())
        held = lock.acquire(blocking=False)
        if not held:
            waiting("another thread")
        while not held and not stop():
            held = lock.acquire(timeout=0.05)
        try:
            yield held
        finally:
            if held:
                lock.release()

    def folder(self, key: str) -> Path:
        """A name for the place; nothing is written there."""
        return Path(self._scratch.name) / "objects" / key

    def work(self, key: str) -> Path:
        """Scratch folder of a step, with its checkpoints."""
        path = Path(self._scratch.name) / "work" / key
        path.mkdir(parents=True, exist_ok=True)
        return path

    def stage(self, key: str) -> MemoryStaging:
        """Begin to write the artifact."""
        self.writable()
        return CheckedStaging(key)

    def commit(self, staged: Any, facts: Mapping[str, Any], *, replace: bool = False) -> dict[str, Any]:
        """Make it visible. The digest covers attributes and arrays; it differs from that of the same artifact on disk."""
        self.writable()
        if staged.key in self.committed and not replace:
            return self.manifest(staged.key)
        parts = [canonical_json(staged.attrs)]
        parts += [f"{n} {a.dtype} {a.shape}".encode() + a.tobytes() for n, a in sorted(staged.arrays.items())]
        digest = blake(b"\0".join(parts))
        arrays = {name: {"shape": list(value.shape), "dtype": str(value.dtype)} for name, value in staged.arrays.items()}
        known = {"key": staged.key, "digest": digest, "metrics": staged.attrs.get("metrics", {}), "arrays": arrays, "files": {}}
        manifest = json.loads(json.dumps({**facts, **known}))
        self._times[staged.key] = time.time()
        self.committed[staged.key] = (
            manifest,
            MemoryReader(staged.key, digest, json.loads(json.dumps(staged.attrs)), staged.arrays, staged.layout),
        )
        shutil.rmtree(self.work(staged.key), ignore_errors=True)
        return copy.deepcopy(manifest)

    def set_aside(self, key: str) -> None:
        """Forget the artifact."""
        self.writable()
        self.committed.pop(key, None)
