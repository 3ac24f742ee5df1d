"""Artifacts in memory: staged, written and read like those of a store, by the same functions of their kinds.

`Kind.write(Held(), …)` gives an artifact that no store has; `copy_to` writes it, or any other, into what a store stages.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .artifact import Reader, RowSpec, Staging

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
    """Implements `Reader`. `layout` is how the rows were declared: their block and what each array is, None where there are none."""

    def __init__(
        self,
        key: str,
        digest: str,
        attrs: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
        layout: tuple[int, Mapping[str, RowSpec]] | None = None,
    ) -> None:
        self.key, self.digest, self.attrs, self.layout = key, digest, attrs, layout
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
    """Implements `RowWriter`; nothing survives a kill, so it always starts at row 0."""

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
    """Implements `Staging`."""

    def __init__(self, key: str = "") -> None:
        self.key, self.attrs = key, dict[str, Any]()
        self.arrays: dict[str, NDArray[Any]] = {}
        self.layout: tuple[int, Mapping[str, RowSpec]] | None = None

    def put(self, name: str, value: NDArray[Any], attrs: Mapping[str, Any] | None = None) -> None:
        """Keep a copy of a whole array."""
        self.arrays[name] = value.copy()

    def rows(self, count: int, block: int, arrays: Mapping[str, RowSpec]) -> MemoryWriter:
        """Row-wise arrays of `count` rows."""
        self.layout = block, dict(arrays)
        return MemoryWriter(self, count, block, arrays)

    def as_reader(self) -> MemoryReader:
        """What is staged."""
        return MemoryReader(self.key, "", self.attrs, self.arrays, self.layout)


class Held:
    """What a kind is written with outside of a step: `Model.write(Held(), state, config)` is a model in memory, without a key."""

    def __init__(self) -> None:
        self.staging = MemoryStaging()


def copy_to(staging: Staging, reader: Reader) -> None:
    """Write what a reader has into an artifact that is being staged: declared rows as such, everything else as whole arrays."""
    import numpy as np

    staging.attrs.update(reader.attrs)
    names = reader.names()
    layout = reader.layout if isinstance(reader, MemoryReader) else None
    if layout is not None:
        block, specs = layout
        arrays = {name: reader.array(name) for name in specs}
        count = len(next(array for array in arrays.values() if array is not None))
        writer = staging.rows(count, block, specs)
        for start in range(writer.start, count, block):
            writer.append({name: array[start : start + block] for name, array in arrays.items() if array is not None})
        writer.close()
        names = [name for name in names if name not in specs]
    for name in names:
        array = reader.array(name)
        if array is not None:
            staging.put(name, np.asarray(array[...]))
