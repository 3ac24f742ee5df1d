"""The columns of an `ImageSet`: what their arrays must be, and how they go to the disk block by block."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from fabloom.errors import DataError

from .artifact import RowSpec, Staging

if TYPE_CHECKING:
    from numpy.typing import NDArray

PIXELS = ("images", "masks", "scores", "references")
COLUMNS = (*PIXELS, "domain", "labels", "source")


def append(staging: Staging, count: int, block: int, blocks: Iterator[dict[str, NDArray[Any]]]) -> None:
    """Write blocks of rows, laid out as the first one is."""
    first = next(blocks)
    dims = {
        **dict.fromkeys(("images", "references"), ("channel", "y", "x")),
        **dict.fromkeys(("masks", "scores"), ("y", "x")),
    }
    order = [name for name in COLUMNS if name in first]
    writer = staging.rows(count, block, {n: RowSpec(str(first[n].dtype), first[n].shape[1:], dims=dims.get(n, ())) for n in order})
    for start, rows in zip(range(0, count, block), itertools.chain([first], blocks), strict=True):
        if start >= writer.start:  # what a stopped run has on disk is not written again
            writer.append({name: rows[name] for name in order})
    writer.close()


def checked_pixels(name: str, values: Any, shape: tuple[int, ...]) -> NDArray[Any]:
    """Images, masks, scores or references [N,...] of images of `shape` [N,C,H,W]. Raises DataError for anything else."""
    import numpy as np

    if name not in PIXELS:
        raise DataError(f"a batch has a column '{name}'; batches hold {', '.join(PIXELS)}")
    flat = name in ("masks", "scores")
    wanted = (shape[0], *shape[2:]) if flat else shape
    checked: NDArray[Any] = checked_array(name, values, np.float16 if name == "scores" else np.uint8, len(wanted), wanted)
    if name == "scores" and not np.isfinite(checked).all():
        raise DataError("scores must be finite: a pixel that nobody can judge is 255 in the masks")
    return checked


def checked_array(name: str, value: Any, dtype: Any, ndim: int, shape: tuple[int, ...] | None) -> NDArray[Any]:
    """An array of that dtype and number of axes, none empty, and of that shape where one is given. Raises DataError for anything else."""
    import numpy as np

    array = np.asarray(value)
    if array.dtype != dtype:
        raise DataError(f"{name} must be {np.dtype(dtype)}, not {array.dtype}")
    if array.ndim != ndim or 0 in array.shape or (shape is not None and array.shape != shape):
        wanted = shape if shape is not None else ("N,C,H,W" if ndim == 4 else f"{ndim} axes")
        raise DataError(f"{name} must have shape {wanted} with no empty axis, not {array.shape}")
    return array


def check_channels(shape: tuple[int, ...], declared: int | None) -> None:
    """Raise DataError for images [N,C,H,W] of other than 1 or 3 channels that nobody declared: most are [N,H,W,C]."""
    if shape[1] == declared or (declared is None and shape[1] in (1, 3)):
        return
    last = f" Channels last? Then give images.transpose(0, 3, 1, 2): {(shape[0], shape[3], *shape[1:3])}." if shape[3] <= 4 else ""
    wanted = "1 or 3, or what `channels` declares" if declared is None else f"the declared {declared}"
    raise DataError(f"images of shape {tuple(shape)} have {shape[1]} channels, wanted {wanted}.{last}")
