"""MixedWM38 as published: arr_0 [N,52,52] of dies and arr_1 [N,8] of patterns (Wang et al., IEEE Trans. Semicond. Manuf. 33, 2020)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError

from .archive import Archive
from .collection import LONGEST_SIDE, checked, legal
from .encoding import FAIL, Codes
from .types import CODES, MOST_MIXED, TYPES

ARRAYS = {"arr_0", "arr_1"}
ILLEGAL = 3
"""A value that maps of Near-full hold where a die fails: https://github.com/Junliangwangdhu/WaferMap/issues/2."""


class Mixed:
    """The maps of an archive of that shape; any side will do."""

    most = MOST_MIXED

    def __init__(self, archive: Archive) -> None:
        """Read the labels. Raises DataError for other arrays, and for patterns that do not go together."""
        found = checked(archive, "arr_0", "biuf", (None, None, None))
        count, *self._plane = found.shape
        if not count or not all(0 < side <= LONGEST_SIDE for side in self._plane):
            raise DataError(f"{archive.path}: arr_0 is {list(found.shape)}; maps of 1 to {LONGEST_SIDE} dies a side are wanted")
        checked(archive, "arr_1", "biuf", (count, len(CODES)))
        self._archive = archive
        self.repaired = 0
        self.shapes: NDArray[np.int64] = np.tile(np.array(self._plane, np.int64), (count, 1))
        self.labels = _labels(archive, archive.whole("arr_1"))

    def part(self, split: str) -> NDArray[np.bool_]:
        """All of them: the file has no parts."""
        if split != "all":
            raise DataError(f"{self._archive.path}: MixedWM38 has no {split} part; leave out split and take images.split")
        return np.ones(len(self.labels), bool)

    def sources(self, rows: NDArray[np.int64], by: str) -> list[str]:
        """Each map is a source: nobody tells which are of one lot."""
        return [f"map {row}" for row in rows.tolist()]

    def read(self, rows: NDArray[np.int64]) -> Iterator[Codes]:
        """Dies of rows that rise, an illegal 3 as the fail that it stands for."""
        size = self._plane[0] * self._plane[1]
        spans = [(row * size, (row + 1) * size) for row in rows.tolist()]
        for row, dies in zip(rows.tolist(), self._archive.pieces("arr_0", spans), strict=True):
            illegal = dies == ILLEGAL
            self.repaired += bool(illegal.any())
            yield legal(self._archive, row, np.where(illegal, FAIL, dies)).reshape(self._plane)


def _labels(archive: Archive, told: NDArray[np.generic]) -> NDArray[np.int16]:
    """The type of each row of patterns [N,8], 1 where a map has one."""
    index = {members: number for number, members in enumerate(TYPES.values())}
    has = told == 1
    found = np.empty(len(told), np.int16)
    for row, (one, raw) in enumerate(zip(has.tolist(), told.tolist(), strict=True)):
        members = tuple(pattern for pattern, here in zip(CODES, one, strict=True) if here)
        if members not in index or any(value not in (0, 1) for value in raw):
            raise DataError(f"{archive.path}: row {row} of arr_1 is {raw}, none of the {len(TYPES)} types ({', '.join(CODES.values())})")
        found[row] = index[members]
    return found
