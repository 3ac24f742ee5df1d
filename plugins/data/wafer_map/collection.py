"""Maps of a file as they are chosen from: a label and a source each, and the dies of those that are wanted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError

from .archive import Archive, Header
from .encoding import FAIL, Codes

UNLABELLED = -1
LONGEST_SIDE = 1024
"""Dies along a wafer at most; the largest maps of WM-811K have some 300."""


class Collection(Protocol):
    """A file of maps. `labels` [N] counts `types.TYPES`, -1 where nobody labelled; `shapes` [N,2] are (height, width) in dies;
    `most` is how many patterns a map may have at once.
    """

    most: int
    labels: NDArray[np.int16]
    shapes: NDArray[np.int64]
    repaired: int

    def part(self, split: str) -> NDArray[np.bool_]:
        """True [N] for maps of a part of the file."""
        ...

    def sources(self, rows: NDArray[np.int64], by: str) -> list[str]:
        """The name of the source of each row."""
        ...

    def read(self, rows: NDArray[np.int64]) -> Iterator[Codes]:
        """The dies [h,w] of rows that rise, as codes; counts in `repaired` those whose dies had to be put right."""
        ...


def checked(archive: Archive, name: str, kinds: str, shape: Sequence[int | None]) -> Header:
    """The header of an array that is of one of these kinds and of this shape. Raises DataError for any other."""
    found = archive.header(name)
    fits = len(found.shape) == len(shape) and all(want in (None, side) for want, side in zip(shape, found.shape, strict=True))
    if found.dtype.kind not in kinds or not fits:
        told = ", ".join("N" if side is None else str(side) for side in shape)
        raise DataError(
            f"{archive.path}: {name} is {list(found.shape)} of {found.dtype}, where [{told}] of kind {' or '.join(kinds)} is wanted"
        )
    return found


def legal(archive: Archive, row: int, dies: NDArray[np.generic]) -> Codes:
    """Dies as codes. Raises DataError for another value than 0, 1 and 2."""
    codes = dies.astype(np.uint8)
    if (codes != dies).any() or codes.max(initial=0) > FAIL:
        wrong = dies[(codes != dies) | (codes > FAIL)][0]
        raise DataError(f"{archive.path}: map {row} holds {wrong}; a die is 0 (none), 1 (passes) or 2 (fails)")
    return codes
