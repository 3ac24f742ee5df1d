"""Panels: samples of every method beside the reference, and where the defects lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from fabloom.kinds import ImageSet
from fabloom.kinds.masks import is_defect
from fabloom.plugins.blocks.sheets import coloured, stretched, tiled


def reference_row(reference: ImageSet) -> int:
    """The first image with a defect; the first image where none is marked."""
    domain = reference.domain
    return 0 if domain is None else int(np.argmax(domain[...] == 1))


def samples(reference: ImageSet, sets: Sequence[ImageSet], shown: int) -> NDArray[np.uint8]:
    """A row for each set, the reference first in it; all with the grey range of the reference. uint8 [h,w,3]."""
    row = reference_row(reference)
    first = reference.images[row : row + 1]
    low, high = float(first.min()), float(first.max())
    lead = stretched(first, low, high)
    rows = [np.concatenate([lead, *(fitted(image, lead[0]) for image in stretched(s.images[:shown], low, high))]) for s in sets]
    return tiled(rows, max(len(row) for row in rows))


def fitted(image: NDArray[np.uint8], frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """[1,H,W,3] cut or filled with white to the size of a frame, at its top left corner."""
    out = np.full_like(frame, 255)
    height, width = min(len(image), len(frame)), min(image.shape[1], frame.shape[1])
    out[:height, :width] = image[:height, :width]
    return out[None]


def locations(sets: Mapping[str, ImageSet]) -> tuple[NDArray[np.uint8] | None, dict[str, float]]:
    """Share of the masks that cover a pixel, a map for each set, each from 0 to its own peak; and the peaks.

    (None, {}) where no set has masks of one size.
    """
    means = {name: is_defect(s.masks[...]).mean(0) for name, s in sets.items() if s.masks is not None}
    if not means or len({mean.shape for mean in means.values()}) > 1:
        return None, {}
    maps = [coloured(mean / max(float(mean.max()), 1e-12)) for mean in means.values()]
    return tiled([np.stack(maps)], len(maps)), {name: float(mean.max()) for name, mean in means.items()}
