"""What every one-shot method does at its ends: choose the one training image, and write what was generated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError, Interrupted
from fabloom.kinds import ImageSet
from fabloom.method import Context


@dataclass(frozen=True)
class Picture:
    """The training image: uint8 [C,H,W], equal channels collapsed to one, how many channels the set has, and its row there."""

    pixels: NDArray[np.uint8]
    channels: int
    row: int = 0

    @property
    def grey(self) -> NDArray[np.float64]:
        """Mean of the channels [H,W]."""
        values: NDArray[np.float64] = self.pixels.mean(0, dtype=np.float64)
        return values


def pick(images: ImageSet, row: int | None) -> Picture:
    """The training image of a set: the given row, else the only image, else the only one with a defect (domain 1).

    Raises DataError where that leaves a choice, for a row that is not there, and for a constant image.
    """
    count = len(images)
    if row is None:
        rows = range(count) if count == 1 or images.domain is None else np.flatnonzero(images.domain[...] == 1).tolist()
        if len(rows) != 1:
            held = f"{count} images" if images.domain is None else f"{count} images, {len(rows)} of them with a defect"
            raise DataError(f"a one-shot method learns from one image; set {images.key[:12]} holds {held}. Choose one with `image: ROW`")
        row = rows[0]
    if not 0 <= row < count:
        raise DataError(f"image: row {row} is not in set {images.key[:12]} of {count} images (rows count from 0)")
    pixels = np.asarray(images.images[row : row + 1])[0]
    if pixels.min() == pixels.max():
        raise DataError(f"image {row} of set {images.key[:12]} is constant (grey level {int(pixels.min())}): nothing to learn")
    equal = bool((pixels == pixels[:1]).all())
    return Picture(pixels[:1] if equal else pixels, len(pixels), row)


def images_at_once(batch: int, size: tuple[int, int]) -> int:
    """At most `batch`, fewer where images of this size would hold more than a million pixels together; one at least."""
    return max(min(batch, 2**20 // (size[0] * size[1])), 1)


def write_samples(
    ctx: Context,
    count: int,
    batch: int,
    channels: int,
    draw: Callable[[range], NDArray[np.uint8]],
    attrs: dict[str, Any],
    references: NDArray[np.uint8] | None = None,
) -> ImageSet:
    """Generate `count` images in batches and write them. `draw` gives uint8 [B,C,H,W] for a range of sample numbers.

    `references` [count,channels,H,W] are the clean images whose structure the samples follow.

    An image must follow from the seed and its number alone, so that the set does not depend on the size of a batch. By rounding it does:
    a part of the images draws the batches that all of them would be drawn in, and keeps its own.
    """
    done, own = [], ctx.rows(count)
    with ctx.progress(len(own), unit="image", name="sample") as bar:
        for start in range(own.start - own.start % batch, own.stop, batch):
            if ctx.stop_requested():
                told = f"stopped after {max(start - own.start, 0)} of {len(own)} images"
                raise Interrupted(f"{told}. Run the same command again to start over.")
            pixels = draw(range(start, min(start + batch, count)))[max(own.start - start, 0) : own.stop - start]
            done.append(np.repeat(pixels, channels, 1) if pixels.shape[1] < channels else pixels)
            bar.advance(len(pixels))
    pixels = np.concatenate(done)
    shown = None if references is None else references[own.start : own.stop]
    return ImageSet.write(ctx, pixels, references=shown, channels=pixels.shape[1], attrs=attrs)
