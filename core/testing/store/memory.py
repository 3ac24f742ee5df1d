"""A store in memory, for an author's own quick tests: nothing on disk but the scratch folders of running steps."""

from __future__ import annotations

import copy
import json
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.errors import UserError
from fabloom.hashing import blake, canonical_json
from fabloom.kinds import RowSpec
from fabloom.planning.sources import SourceCache
from fabloom.storage.backends.base import BaseStore
from fabloom.storage.commit.names import SAFE_NAME
from fabloom.storage.refs import LocalRefs

if TYPE_CHECKING:
    from numpy.typing import NDArray


class MemoryArray:
    """An array whose slices are copies, so that a task cannot change an artifact through them."""

    def __init__(self, value: NDArray[Any]) -> None:
        self._value = value
        self.shape, self.dtype = value.shape, value.dtype

    def __len__(self) -> int:
        return len(self._value)

    def __getitem__(self, index: Any) -> NDArray[Any]:
        import numpy as np

        return np.array(self._value[index])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return self._value.astype(dtype or self.dtype)


class MemoryRows:
    """A `RowReader` over arrays in memory."""

    def __init__(self, arrays: Mapping[str, MemoryArray]) -> None:
        self._arrays = arrays

    def read(self, rows: Sequence[int] | NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Rows [B, ...] of every array."""
        return {name: array[rows] for name, array in self._arrays.items()}


class MemoryReader:
    """Implements `fabloom.artifacts.Reader`."""

    def __init__(self, key: str, digest: str, attrs: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        self.key, self.digest, self.attrs = key, digest, attrs
        self._arrays = {name: MemoryArray(value) for name, value in arrays.items()}

    def names(self) -> list[str]:
        """Names of the arrays, sorted."""
        return sorted(self._arrays)

    def array(self, name: str) -> MemoryArray | None:
        """The array, or None."""
        return self._arrays.get(name)

    def rows(self, names: Sequence[str], threads: int = 2) -> MemoryRows:
        """Rows of several arrays; one thread is enough here."""
        return MemoryRows({name: self._arrays[name] for name in names})


class MemoryWriter:
    """Implements `fabloom.artifacts.RowWriter`; nothing survives a kill, so it always starts at row 0."""

    def __init__(self, staging: MemoryStaging, count: int, block: int, specs: Mapping[str, RowSpec]) -> None:
        self.start, self.count, self.block = 0, count, block
        self._staging, self._specs = staging, specs
        self._held: dict[str, list[NDArray[Any]]] = {name: [] for name in specs}

    def append(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Add rows [B, ...] of every array. Raises ValueError for another dtype or shape than declared."""
        import numpy as np

        for name, spec in self._specs.items():
            value = np.asarray(rows[name])
            if str(value.dtype) != spec.dtype or value.shape[1:] != spec.shape:
                raise ValueError(f"'{name}': rows are {spec.dtype} {spec.shape}, not {value.dtype} {value.shape[1:]}")
            self._held[name].append(value)

    def close(self) -> None:
        """Raises ValueError if rows are missing."""
        import numpy as np

        for name, held in self._held.items():
            self._staging.put(name, np.concatenate(held) if held else np.empty(0))
            if len(self._staging.arrays[name]) != self.count:
                raise ValueError(f"{len(self._staging.arrays[name])} of the {self.count} declared rows were written")


class MemoryStaging:
    """Implements `fabloom.artifacts.Staging`."""

    def __init__(self, key: str) -> None:
        self.key, self.attrs = key, dict[str, Any]()
        self.arrays: dict[str, NDArray[Any]] = {}

    def put(self, name: str, value: NDArray[Any], attrs: Mapping[str, Any] | None = None) -> None:
        """Keep a copy of a whole array. Raises ValueError for a name that no store could take."""
        if not SAFE_NAME.fullmatch(name):
            raise ValueError(f"'{name}' is no safe array name: letters, digits, '_', '.', '-' only")
        self.arrays[name] = value.copy()

    def rows(self, count: int, block: int, arrays: Mapping[str, RowSpec]) -> MemoryWriter:
        """Row-wise arrays of `count` rows."""
        return MemoryWriter(self, count, block, arrays)

    def as_reader(self) -> MemoryReader:
        """What is staged."""
        return MemoryReader(self.key, "", self.attrs, self.arrays)


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
        return MemoryStaging(key)

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
        self.committed[staged.key] = (manifest, MemoryReader(staged.key, digest, json.loads(json.dumps(staged.attrs)), staged.arrays))
        shutil.rmtree(self.work(staged.key), ignore_errors=True)
        return copy.deepcopy(manifest)

    def set_aside(self, key: str) -> None:
        """Forget the artifact."""
        self.writable()
        self.committed.pop(key, None)
