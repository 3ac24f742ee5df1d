"""A store in memory, for an author's own quick tests: nothing on disk but the scratch folders of running steps."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.errors import UserError
from fabloom.hashing import blake, canonical_json
from fabloom.kinds import BUILTIN_KINDS, Artifact, RowSpec
from fabloom.planning.sources import SourceCache

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

    def __init__(self, store: MemoryStore, key: str) -> None:
        self.key, self.attrs = key, dict[str, Any]()
        self.arrays: dict[str, NDArray[Any]] = {}
        self._store = store

    def put(self, name: str, value: NDArray[Any], attrs: Mapping[str, Any] | None = None) -> None:
        """Keep a copy of a whole array."""
        self.arrays[name] = value.copy()

    def rows(self, count: int, block: int, arrays: Mapping[str, RowSpec]) -> MemoryWriter:
        """Row-wise arrays of `count` rows."""
        return MemoryWriter(self, count, block, arrays)

    def as_reader(self) -> MemoryReader:
        """What is staged."""
        return MemoryReader(self.key, "", self.attrs, self.arrays)

    def commit(self, target: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Make it visible. The digest covers attributes and arrays; it differs from that of the same artifact on disk."""
        parts = [canonical_json(self.attrs)]
        parts += [f"{n} {a.dtype} {a.shape}".encode() + a.tobytes() for n, a in sorted(self.arrays.items())]
        digest = blake(b"\0".join(parts))
        manifest = json.loads(json.dumps({**facts, "key": self.key, "digest": digest, "metrics": self.attrs.get("metrics", {})}))
        attrs = json.loads(json.dumps(self.attrs))
        self._store.committed[self.key] = (manifest, MemoryReader(self.key, digest, attrs, self.arrays))
        return dict(manifest)


class MemoryStore:
    """What the inline engine and `run_task` ask of a store. Not for worker processes: they could not see it."""

    url = "memory"

    def __init__(self) -> None:
        self.committed: dict[str, tuple[dict[str, Any], MemoryReader]] = {}
        self.kinds: dict[str, type[Artifact]] = {kind.kind: kind for kind in BUILTIN_KINDS}
        self.hasher = SourceCache()
        self._scratch = tempfile.TemporaryDirectory(prefix="fabloom-")

    def has(self, key: str) -> bool:
        """True once the artifact is committed."""
        return key in self.committed

    def manifest(self, key: str) -> dict[str, Any]:
        """The manifest. Raises UserError for an unknown key."""
        if key not in self.committed:
            raise UserError(f"there is no artifact {key} in this memory store")
        return dict(self.committed[key][0])

    def get(self, key: str) -> Artifact:
        """The artifact, of its kind's class."""
        return self.kinds[self.manifest(key)["kind"]](self.committed[key][1])

    def resolve(self, text: str) -> str:
        """The key that `key:HEX` or a whole key stands for."""
        key = text.removeprefix("key:")
        self.manifest(key)
        return key

    @contextmanager
    def lock(self, key: str, waiting: Callable[[str], None], stop: Callable[[], bool]) -> Iterator[bool]:
        """Nobody else can see this store: always held."""
        yield True

    def folder(self, key: str) -> Path:
        """A name for the place; nothing is written there."""
        return Path(self._scratch.name) / "objects" / key

    def work(self, key: str) -> Path:
        """Scratch folder of a step, with its checkpoints."""
        path = Path(self._scratch.name) / key
        path.mkdir(exist_ok=True)
        return path

    def stage(self, key: str) -> MemoryStaging:
        """Begin to write the artifact."""
        return MemoryStaging(self, key)

    def set_aside(self, key: str) -> None:
        """Forget the artifact."""
        self.committed.pop(key, None)
