"""`Artifact`, the base of all kinds, over the small protocols by which a store hands it out and takes it in.

An artifact is immutable. A task receives committed artifacts and returns one that it wrote with `Kind.write(ctx, ...)`;
the engine commits it when the task returns. Arrays are lazy: slicing gives numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from fabloom.notebook import html

from .arrays import LazyArray
from .exhibit import Exhibit, Table

if TYPE_CHECKING:
    from numpy.typing import NDArray

FEW = 3
"""Arrays that a summary names."""


@dataclass(frozen=True)
class RowSpec:
    """One array of a row-wise artifact: the dtype and the shape of a row, without N.

    `compress` is off for data that zstd cannot shrink (noise, scales). `dims` names the axes after the first, so that xarray
    knows which arrays share them; left out, each axis gets a name of its own. `units` (nm, grey levels) and `meaning` (one sentence)
    are for who reads the artifact without its method.
    """

    dtype: str
    shape: tuple[int, ...] = ()
    compress: bool = True
    dims: tuple[str, ...] = ()
    units: str = ""
    meaning: str = ""


class RowReader(Protocol):
    """The fast path: many random rows of several arrays at once, decoded in threads."""

    def read(self, rows: Sequence[int] | NDArray[Any]) -> dict[str, NDArray[Any]]: ...


class RowWriter(Protocol):
    """Writes the rows of several arrays in order, in whole row blocks; finished blocks survive a kill.

    `start` is the first row that is still missing, 0 in a fresh artifact.
    """

    start: int
    block: int
    count: int

    def append(self, rows: Mapping[str, NDArray[Any]]) -> None: ...
    def close(self) -> None: ...


class Reader(Protocol):
    """A committed artifact as the store hands it out."""

    key: str
    digest: str

    @property
    def attrs(self) -> Mapping[str, Any]: ...
    def names(self) -> list[str]: ...
    def array(self, name: str) -> LazyArray | None: ...
    def rows(self, names: Sequence[str], threads: int = 2) -> RowReader: ...


class Staging(Protocol):
    """An artifact being written; invisible until the engine commits it."""

    key: str
    attrs: dict[str, Any]

    def put(self, name: str, value: NDArray[Any], attrs: Mapping[str, Any] | None = None) -> None: ...
    def rows(self, count: int, block: int, arrays: Mapping[str, RowSpec]) -> RowWriter: ...
    def as_reader(self) -> Reader: ...


class Writing(Protocol):
    """What a kind needs of the context that it is written with."""

    @property
    def staging(self) -> Staging: ...


class Artifact:
    """Base of all kinds. `key` says what was asked for, `digest` what came out."""

    kind: ClassVar[str]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.kind = cls.__name__

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    @property
    def key(self) -> str:
        """Hash of what was asked for: task, version, params, seed and input keys."""
        return self._reader.key

    @property
    def digest(self) -> str:
        """Hash of what came out; empty until the artifact is committed."""
        return self._reader.digest

    @property
    def attrs(self) -> Mapping[str, Any]:
        """JSON attributes of the artifact."""
        return self._reader.attrs

    def array(self, name: str) -> LazyArray:
        """The array `name`. Raises KeyError with the names that exist."""
        found = self._reader.array(name)
        if found is None:
            raise KeyError(f"{self.kind} {self.key[:12]} has no array '{name}', only {self._reader.names()}")
        return found

    @classmethod
    def summarise(cls, manifest: Mapping[str, Any]) -> str:
        """Override to say in a few words, on one line, what an artifact holds, from its manifest alone: no data is read for it.

        `manifest["arrays"]` holds shape and dtype of each array by name, `manifest["metrics"]` the numbers of a report.
        """
        arrays = sorted(manifest["arrays"].items())
        told = ", ".join(f"{name} {entry['dtype']} {list(entry['shape'])}" for name, entry in arrays[:FEW])
        return told + (f" and {len(arrays) - FEW} more" if len(arrays) > FEW else "") or "attributes alone"

    def summary(self) -> str:
        """What this artifact holds, as `summarise` says it."""
        return type(self).summarise({"arrays": self._described_arrays(), "metrics": self.attrs.get("metrics", {})})

    def exhibits(self) -> Iterable[Exhibit]:
        """Override to yield what the page of a run and a notebook show of the artifact; by default attributes and arrays.

        What is read while an exhibit is made may fail without harm to those before it.
        """
        yield Exhibit(facts=dict(self.attrs))
        rows = [[name, " × ".join(map(str, a["shape"])) or "one value", a["dtype"]] for name, a in self._described_arrays().items()]
        yield Exhibit(table=Table(("array", "shape", "type"), rows))

    def exports(self) -> Mapping[str, Callable[[Path], None]]:
        """Override to give formats of its own to `fabloom export`, the default first: name to what writes into an empty folder.

        The formats of the kind's bases and `zarr` come after them. A writer that raises leaves no folder behind.
        """
        return {}

    def _described_arrays(self) -> dict[str, dict[str, Any]]:
        """Shape and dtype of each array, as a manifest has them."""
        arrays = ((name, self.array(name)) for name in self._reader.names())
        return {name: {"shape": list(array.shape), "dtype": str(array.dtype)} for name, array in arrays}

    def __repr__(self) -> str:
        try:
            told = f": {self.summary()}"
        except Exception:  # of a damaged artifact its name is still shown
            told = ""
        return f"{type(self).__name__}({self.key[:12] or 'in memory'}{told})"

    def _repr_html_(self) -> str | None:
        """What a notebook shows: the exhibits."""
        return html(self)
