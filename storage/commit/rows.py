"""The rows of an artifact while it is written: whole blocks, each a shard an array, that the journal vouches for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.kinds import RowSpec
from fabloom.storage.format.arrays import create_array, write_shard

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .staging import StagedArtifact


class StagedRows:
    """A `RowWriter`: collects rows into whole blocks, writes each as one shard an array, and journals it."""

    def __init__(self, staged: StagedArtifact, count: int, block: int, arrays: Mapping[str, RowSpec]) -> None:
        self.count, self.block, self.specs = count, block, dict(arrays)
        self._staged = staged
        self._held: dict[str, list[NDArray[Any]]] = {name: [] for name in self.specs}
        self._buffered = 0
        done = staged.declare(count, block, self.specs)
        for name, spec in self.specs.items():
            create_array(staged.folder(name), spec, count, block)
        self.start = min(done * block, count)
        self.written = self.start

    def append(self, rows: Mapping[str, NDArray[Any]]) -> None:
        """Add rows [B, ...] of every array, in order; any B."""
        import numpy as np

        if set(rows) != set(self.specs):
            raise ValueError(f"rows of {sorted(self.specs)} are wanted together, not of {sorted(rows)}")
        lengths = {len(value) for value in rows.values()}
        if len(lengths) != 1 or self.written + self._buffered + max(lengths) > self.count:
            raise ValueError(f"unequal row counts {lengths}, or more rows than the {self.count} declared")
        for name, value in rows.items():
            spec = self.specs[name]
            array = np.asarray(value)
            if array.shape[1:] != spec.shape or str(array.dtype) != spec.dtype:
                raise ValueError(f"'{name}': rows are {spec.dtype} {spec.shape}, not {array.dtype} {array.shape[1:]}")
            self._held[name].append(array)
        self._buffered += max(lengths)
        while self._buffered >= self.block:
            self._flush(self.block)

    def _flush(self, rows: int) -> None:
        import numpy as np

        files = []
        for name, spec in self.specs.items():
            joined = self._held[name][0] if len(self._held[name]) == 1 else np.concatenate(self._held[name])
            self._held[name] = [joined[rows:]]
            files.append(write_shard(self._staged.folder(name), self.written // self.block, joined[:rows], spec, self.block))
        self._staged.journal(files)
        self.written += rows
        self._buffered -= rows

    def take(self, files: Sequence[Path], rows: int) -> list[tuple[int, str]]:
        """The next block lies there encoded already, a shard an array: journal it. Gives size and hash of each file."""
        self._staged.journal(list(files), lasting=False)
        self.written += rows
        return [self._staged.entry(file) for file in files]

    def close(self) -> None:
        """Write the last, possibly short block. Raises ValueError if rows are missing."""
        if self._buffered:
            self._flush(self._buffered)
        if self.written != self.count:
            raise ValueError(f"{self.written} of the {self.count} declared rows were written")

    @property
    def missing(self) -> int:
        """Rows that are declared but not on disk yet."""
        return self.count - self.written
