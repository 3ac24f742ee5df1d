"""Images that come in batches: blocks of equal length, as many as were said, held in memory only where nobody said how many."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from fabloom.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Rows = Mapping[str, NDArray[Any]]
    Batch = NDArray[Any] | Rows

IMAGES = "images"
BLOCK_BYTES = 64 << 20
"""Of images in a block; large ones make shorter blocks, so that writers and readers hold few of them."""


def rebatched(batches: Iterable[Any], block: int) -> Iterator[NDArray[Any]]:
    """Re-batch arrays of any length into blocks of `block` rows; the last may be short."""
    return (rows[IMAGES] for rows in _rebatched(({IMAGES: batch} for batch in batches), block))


def _rebatched(batches: Iterable[Rows], block: int) -> Iterator[dict[str, NDArray[Any]]]:
    """The same of several columns at once. Raises DataError where names, lengths or shapes of a batch differ."""
    import numpy as np

    held: list[dict[str, NDArray[Any]]] = []
    rows = 0
    for batch in batches:
        new = {name: np.asarray(values) for name, values in batch.items()}
        held.append(new)
        if new.keys() != held[0].keys() or len({len(values) for values in new.values()}) != 1:
            told = {name: values.shape for name, values in new.items()}
            raise DataError(
                f"a batch has the columns {told}; all have the columns {sorted(held[0])} and each as many rows as it has images"
            )
        for name, values in new.items():
            if values.shape[1:] != held[0][name].shape[1:]:
                what = "image" if name == IMAGES else name
                raise DataError(f"batches must be of one {what} shape; one of {values.shape[1:]} comes after {held[0][name].shape[1:]}")
        rows += len(next(iter(new.values())))
        while rows >= block:
            joined = {name: np.concatenate([one[name] for one in held]) for name in new}
            yield {name: values[:block] for name, values in joined.items()}
            held = [{name: values[block:] for name, values in joined.items()}]
            rows -= block
    if rows:
        yield {name: np.concatenate([one[name] for one in held]) for name in held[0]}


def block_rows(shape: tuple[int, ...], most: int) -> int:
    """Rows in a block of images [C,H,W] of 8 bits: `most`, fewer of large ones."""
    import numpy as np

    return max(1, min(most, BLOCK_BYTES // max(int(np.prod(shape)), 1)))


def streamed(
    images: NDArray[np.uint8] | Iterable[Batch], count: int | None, most: int
) -> tuple[int, int, Iterator[dict[str, NDArray[Any]]]]:
    """How many images there are, rows in a block, and the blocks as columns. Without a count, batches are held until the last has come.

    The blocks raise DataError where there are more or fewer than `count`.
    """
    import numpy as np

    blocks: Iterable[dict[str, NDArray[Any]]]
    if isinstance(images, np.ndarray):
        stack, number = images, len(images) if images.ndim else 0
        block = block_rows(stack.shape[1:], most)
        blocks = ({IMAGES: stack[start : start + block]} for start in range(0, number, block))
    else:
        first, batches = _peeked(_named(batch) for batch in images)
        block = block_rows(first.shape[1:], most)
        blocks, number = _rebatched(batches, block), count or 0
        if count is None:
            blocks = list(blocks)  # N must be known before the first block is laid out
            number = sum(len(one[IMAGES]) for one in blocks)
    expected = number if count is None else count

    def counted() -> Iterator[dict[str, NDArray[Any]]]:
        seen = 0
        for one in blocks:
            seen += len(one[IMAGES])
            if seen > expected:
                break
            yield one
        if seen != expected:
            told = f"at least {seen}" if seen > expected else seen
            raise DataError(f"count={expected}, but the batches hold {told} images; give the number that they hold")

    return expected, block, counted()


def _named(batch: Batch) -> Rows:
    """A batch as columns. Raises DataError where it has no images."""
    if not isinstance(batch, Mapping):
        return {IMAGES: batch}
    if IMAGES not in batch:
        raise DataError(f"a batch has the columns {sorted(batch)} without '{IMAGES}'")
    return batch


def _peeked(batches: Iterator[Rows]) -> tuple[NDArray[Any], Iterator[Rows]]:
    """The images of the first batch, and all batches."""
    import numpy as np

    first = next(batches, None)
    if first is None:
        return np.empty(0, np.uint8), iter(())
    return np.asarray(first[IMAGES]), itertools.chain([first], batches)
