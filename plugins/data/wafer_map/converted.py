"""WM-811K as `examples/wm811k_to_npz.py` writes it: maps of any size one after the other, with their shapes, labels and lots.

values uint8 [sum of h w], shapes [N,2] (h, w), labels [N] counts classes, -1 where nobody labelled, classes, lots [N] and names [N] text,
parts [N] text: Training, Test or empty.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError

from .archive import Archive
from .collection import LONGEST_SIDE, UNLABELLED, checked, legal
from .encoding import Codes
from .types import TYPES

ARRAYS = {"values", "shapes", "labels", "classes", "lots", "names", "parts"}


class Converted:
    """The maps of an archive of that shape."""

    most = 1
    repaired = 0

    def __init__(self, archive: Archive) -> None:
        """Read all but the dies. Raises DataError for other arrays, shapes that do not add up, and classes of other names."""
        count = checked(archive, "shapes", "iu", (None, 2)).shape[0]
        for name in ("lots", "names", "parts"):
            checked(archive, name, "U", (count,))
        checked(archive, "labels", "iu", (count,))
        checked(archive, "classes", "U", (None,))
        self._archive = archive
        self.shapes = archive.whole("shapes").astype(np.int64)
        if not count or self.shapes.min() < 1 or self.shapes.max() > LONGEST_SIDE:
            raise DataError(f"{archive.path}: shapes must be those of maps of 1 to {LONGEST_SIDE} dies a side")
        self._ends = np.concatenate([[0], np.cumsum(self.shapes.prod(1))])
        checked(archive, "values", "u", (int(self._ends[-1]),))
        self.labels = _labels(archive)

    def part(self, split: str) -> NDArray[np.bool_]:
        """Maps of Training or Test, as the authors of the set parted them."""
        if split == "all":
            return np.ones(len(self.labels), bool)
        found: NDArray[np.bool_] = np.char.lower(self._archive.whole("parts")) == split
        return found

    def sources(self, rows: NDArray[np.int64], by: str) -> list[str]:
        """Lots, or wafers by name."""
        told: list[str] = self._archive.whole("lots" if by == "lot" else "names")[rows].tolist()
        return [name or f"map {row}" for name, row in zip(told, rows.tolist(), strict=True)]

    def read(self, rows: NDArray[np.int64]) -> Iterator[Codes]:
        """Dies of rows that rise."""
        spans = [(int(start), int(end)) for start, end in zip(self._ends[rows], self._ends[rows + 1], strict=True)]
        for row, dies in zip(rows.tolist(), self._archive.pieces("values", spans), strict=True):
            yield legal(self._archive, row, dies).reshape(self.shapes[row])


def _labels(archive: Archive) -> NDArray[np.int16]:
    """Labels that count `TYPES`, of labels that count the file's own classes."""
    classes, told = archive.whole("classes").tolist(), archive.whole("labels").astype(np.int64)
    known = {name.casefold(): number for number, name in enumerate(TYPES)}
    unknown = [name for name in classes if name.casefold() not in known]
    if unknown:
        raise DataError(f"{archive.path}: a class is called {unknown[0]!r}; known are {', '.join(list(TYPES)[:9])}")
    if told.min(initial=0) < UNLABELLED or told.max(initial=UNLABELLED) >= len(classes):
        raise DataError(f"{archive.path}: labels run from {told.min()} to {told.max()}, and there are {len(classes)} classes")
    return np.array([*(known[name.casefold()] for name in classes), UNLABELLED], np.int16)[told]
