"""Images that come in batches: blocks of equal length, as many as were said, held in memory only where nobody said how many."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from fabloom.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def rebatched(batches: Iterable[Any], block: int) -> Iterator[NDArray[Any]]:
    """Re-batch arrays of any length into blocks of `block` rows; the last may be short."""
    import numpy as np

    held: list[NDArray[Any]] = []
    rows = 0
    for batch in batches:
        held.append(np.asarray(batch))
        if held[-1].shape[1:] != held[0].shape[1:]:
            raise DataError(f"batches must be of one image shape; one of {held[-1].shape[1:]} comes after {held[0].shape[1:]}")
        rows += len(held[-1])
        while rows >= block:
            joined = np.concatenate(held)
            yield joined[:block]
            held = [joined[block:]]
            rows -= block
    if rows:
        yield np.concatenate(held)


def streamed(images: NDArray[np.uint8] | Iterable[NDArray[np.uint8]], count: int | None, block: int) -> tuple[int, Iterator[NDArray[Any]]]:
    """How many images there are, and their blocks of `block`. Without a count, batches are held until the last has come.

    The blocks raise DataError where there are more or fewer than `count`.
    """
    import numpy as np

    blocks: Iterable[NDArray[Any]]
    if isinstance(images, np.ndarray):
        stack, number = images, len(images) if images.ndim else 0
        blocks = (stack[start : start + block] for start in range(0, number, block))
    elif count is None:
        blocks = list(rebatched(images, block))  # N must be known before the first block is laid out
        number = sum(map(len, blocks))
    else:
        blocks, number = rebatched(images, block), count
    expected = number if count is None else count

    def counted() -> Iterator[NDArray[Any]]:
        seen = 0
        for one in blocks:
            seen += len(one)
            if seen > expected:
                break
            yield one
        if seen != expected:
            told = f"at least {seen}" if seen > expected else seen
            raise DataError(f"count={expected}, but the batches hold {told} images; give the number that they hold")

    return expected, counted()
