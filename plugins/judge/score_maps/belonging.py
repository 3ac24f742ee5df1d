"""Whether maps are of the test images, and of none that their model knows."""

from __future__ import annotations

import numpy as np

from fabloom.errors import DataError
from fabloom.kinds import ImageSet

BATCH = 64


def check(name: str, maps: ImageSet, images: ImageSet) -> None:
    """Raise DataError for a set without scores, of other images than the test images in their order, or of what its model was made of."""
    told = f"'{name}' ({maps.key[:12]})"
    if maps.scores is None:
        raise DataError(f"{told} has no scores; give what a task `segment`, `detect` or score-maps.difference made of the test images")
    if seen := maps.attrs.get("seen"):
        raise DataError(
            f"{told} has maps of {seen} images that its model was made of: a score of these would be memory, not skill. "
            "Give the model other images, or test on others"
        )
    if maps.images.shape != images.images.shape:
        raise DataError(f"{told} has images {maps.images.shape}, test set {images.key[:12]} {images.images.shape}")
    for start in range(0, len(images), BATCH):
        rows = slice(start, start + BATCH)
        pixels = np.asarray(images.images[rows])
        other = (np.asarray(maps.images[rows]) != pixels).reshape(len(pixels), -1).any(1)
        if other.any():
            what = f"another image {start + int(other.argmax())} than test set {images.key[:12]}"
            raise DataError(f"{told} has {what}: maps must be of the test images, in their order")
