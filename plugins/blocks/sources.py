"""Which images are evidence of their own: those of one source, and those that are alike pixel for pixel, are one group."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from fabloom.kinds import ImageSet

FEWEST = 6
"""Sources below which no verdict is given: that 5 of 5 lie on one side of 0 has a chance of 2 / 2^5 > 0.05 (sign test). It is meant for
95 %: a confidence of 99 % would need eight."""


def groups(images: ImageSet) -> NDArray[np.int64]:
    """Group of every image [N], numbered from 0."""
    return joined(copies(np.asarray(images.images[...])), None if images.source is None else np.asarray(images.source[...]))


def copies(pixels: Iterable[NDArray[np.uint8]]) -> NDArray[np.int64]:
    """A number [N] that images [N,...] share where they are equal."""
    digests = [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in pixels]
    _, same = np.unique(digests, return_inverse=True)
    found: NDArray[np.int64] = same.astype(np.int64)
    return found


def joined(same: NDArray[np.int64], source: NDArray[np.int32] | None) -> NDArray[np.int64]:
    """Groups [N] such that images that are copies or of one source are in one: neither is new evidence."""
    if source is None:
        return same
    first = int(same.max()) + 1
    edges = sparse.coo_array((np.ones(len(same)), (same, first + source)), shape=(first + int(source.max()) + 1,) * 2)
    _, parts = sparse.csgraph.connected_components(edges, directed=False)
    _, numbered = np.unique(parts[same], return_inverse=True)
    return numbered.astype(np.int64)
