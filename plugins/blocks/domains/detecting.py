"""The task `detect`: where images differ from what they would be without a defect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import Interrupted
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.alarms import scores
from fabloom.plugins.blocks.seen import number_seen

from .differences import Finder
from .translator import check_images, held_out


def detect(ctx: Context, images: ImageSet, model: Model, finder: Finder) -> ImageSet:
    """The images with masks, scores and, as references, their clean estimates."""
    check_images(model, images)
    clean = held_out(model)
    chosen = finder.threshold(ctx, clean)
    attrs = {
        "segmenter": model.key,
        "threshold": 0.5,
        "min_area": finder.params.min_area,
        "difference": chosen.distance,
        **chosen.facts,
        "seen": number_seen(model, images.images),
    }
    batches = found(ctx, images, finder, chosen.distance)
    return ImageSet.write(ctx, batches, count=len(images), channels=images.images.shape[1], attrs=attrs, **images.origins())


def found(ctx: Context, images: ImageSet, finder: Finder, threshold: float) -> Iterator[dict[str, NDArray[Any]]]:
    """Batch by batch."""
    with ctx.progress(len(images), unit="image", name="detect") as bar:
        for start in range(0, len(images), finder.params.batch):
            if ctx.stop_requested():
                raise Interrupted(f"stopped after {start} of {len(images)} images. Run the same command again to start over.")
            rows = range(len(images))[start : start + finder.params.batch]
            pixels = np.asarray(images.images[rows.start : rows.stop])
            maps, clean = finder.of(pixels, rows)
            yield {"images": pixels, "masks": finder.masks(maps, threshold), "scores": scores(maps, threshold), "references": clean}
            bar.advance(len(pixels))
