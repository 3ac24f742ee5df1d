"""A set of small rows that grows: written, read in order, read at random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .curves import Measured, median, sizes, spent

BATCH = 256


def rows(folder: Path, largest: int, rounds: int) -> Measured:
    """Images of 8 x 8, one byte a pixel. A set is written once at each size; reads are medians."""
    import numpy as np

    from fabloom.kinds import ImageSet
    from fabloom.method import Context
    from fabloom.planning.keys import artifact_key, preimage
    from fabloom.storage.backends.local import LocalStore

    store, found = LocalStore(folder / "store"), Measured()
    chance = np.random.default_rng(0)

    def written(count: int) -> tuple[Any, float]:
        pixels = chance.integers(0, 255, (count, 1, 8, 8), np.uint8)
        asked = preimage("grow.rows", 1, {"count": count}, 0, {})
        key, began = artifact_key(asked), spent()
        staged = store.stage(key)
        ImageSet.write(Context(staging=staged, seed=0, workdir=store.work(key)), pixels)
        store.commit(staged, {"key": key, "kind": "ImageSet", "preimage": asked, "created": "", "seconds": 0.0})
        return key, spent() - began

    def opened(key: str) -> Any:
        images: Any = store.get(key)
        assert images.images[0].shape == (1, 8, 8)
        return images.images

    opened(written(9)[0])  # the imports
    for size in sizes(largest, 1000):
        key, seconds = written(size)
        images = opened(key)
        images[np.arange(0, size, 512)]  # every shard was used once
        for name, cost in (
            ("write", seconds),
            ("in order", median(lambda images=images, size=size: [images[a : a + 1024].sum() for a in range(0, size, 1024)], rounds)),
            ("open", median(lambda key=key: opened(key), rounds)),
            ("batch", median(lambda images=images, size=size: images[np.sort(chance.choice(size, BATCH, replace=False))], rounds)),
        ):
            found.setdefault(name, {})[size] = cost
    return found
