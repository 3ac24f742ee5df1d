"""Samples with exact masks and the clean images that they were made on, written batch by batch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import Interrupted
from fabloom.method import Context

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Sample:
    """An image [C,h,w], its mask [h,w], and the clean image [C,h,w]."""

    image: Pixels
    mask: Pixels
    clean: Pixels

    @classmethod
    def of(cls, levels: NDArray[np.float64], mask: Pixels, clean: Pixels) -> Sample:
        """From grey levels [C,h,w], which are rounded and cut to 0..255."""
        return cls(np.clip(np.rint(levels), 0, 255).astype(np.uint8), mask, clean)


def batches(ctx: Context, make: Callable[[int], Sample], own: range, batch: int, channels: int) -> Iterator[dict[str, Pixels]]:
    """Columns images, masks and references of the samples of these numbers; an equal channel is repeated to so many.

    Raises Interrupted on a stop.
    """
    with ctx.progress(len(own), unit="image", name="sample") as bar:
        for start in range(own.start, own.stop, batch):
            if ctx.stop_requested():
                told = f"stopped after {start - own.start} of {len(own)} images"
                raise Interrupted(f"{told}. Run the same command again to start over.")
            made = [make(number) for number in range(start, min(start + batch, own.stop))]
            columns = {name: np.stack([getattr(one, what) for one in made]) for name, what in NAMES.items()}
            for name in ("images", "references"):
                if columns[name].shape[1] < channels:
                    columns[name] = np.repeat(columns[name], channels, 1)
            yield columns
            bar.advance(len(made))


NAMES = {"images": "image", "masks": "mask", "references": "clean"}
"""Columns of a set by what a sample has."""
