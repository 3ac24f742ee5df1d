"""Random rows of several arrays at once, decoded straight into the batch by several threads."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

import numpy as np

from .rows import StoredArray

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPLIT_BYTES = 1 << 18
"""Below this much payload an array is one job of `Rows.read`; hand-over between threads would cost more."""


class Rows:
    """Random rows of several arrays at once (`fabloom.artifacts.RowReader`), decoded straight into the batch by `threads` threads."""

    def __init__(self, arrays: Mapping[str, StoredArray], threads: int = 2) -> None:
        self.arrays = dict(arrays)
        self.threads = threads
        self._pool: tuple[int, ThreadPoolExecutor] | None = None
        lengths = {name: len(array) for name, array in self.arrays.items()}
        if not lengths or len(set(lengths.values())) != 1 or not all(array.layout.shard for array in self.arrays.values()):
            raise ValueError(f"rows are read together from row-wise arrays of one length, not from {lengths}")

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def read(self, rows: Sequence[int] | NDArray[Any]) -> dict[str, NDArray[Any]]:
        """{name: [B, ...]} for B row numbers in any order, repeats allowed. Raises IndexError and DamagedArtifact."""
        wanted = np.asarray(rows)
        wanted = next(iter(self.arrays.values())).checked(wanted if wanted.size else wanted.astype(np.int64))
        order = np.argsort(wanted, kind="stable")  # by shard, and by offset in it
        out = {name: array.empty(len(wanted)) for name, array in self.arrays.items()}
        jobs: list[tuple[StoredArray, NDArray[Any], NDArray[np.intp]]] = []
        for name in sorted(out, key=lambda name: -out[name].nbytes):
            pieces = 2 * self.threads if self.threads > 1 and out[name].nbytes > SPLIT_BYTES else 1
            jobs.extend((self.arrays[name], out[name], part) for part in np.array_split(order, pieces) if len(part))
        if self.threads < 2:
            for array, target, part in jobs:
                array.fill(target, wanted, part)
            return out
        futures = [self._executor().submit(array.fill, target, wanted, part) for array, target, part in jobs]
        wait(futures)
        for future in futures:
            future.result()
        return out

    def _executor(self) -> ThreadPoolExecutor:
        """The pool of this process: threads do not live on in a forked child."""
        if self._pool is None or self._pool[0] != os.getpid():
            self._pool = (os.getpid(), ThreadPoolExecutor(self.threads, "fabloom-rows"))
        return self._pool[1]
