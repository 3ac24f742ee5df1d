"""What a set of images shows of itself: how many, how large, how grey, how many defects, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .exhibit import survey
from .masks import is_defect

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .arrays import LazyArray


def statistics(
    images: LazyArray, masks: LazyArray | None, domain: LazyArray | None, labels: LazyArray | None, class_names: Sequence[str]
) -> dict[str, Any]:
    """Count, size, share of defects, classes, grey levels and defect area, of the arrays of an `ImageSet`."""
    import numpy as np

    count, channels, height, width = images.shape
    facts: dict[str, Any] = {"images": count, "size": f"{width} × {height} pixels, {channels} channel{'s' * (channels > 1)}"}
    if domain is not None:
        defect = domain[:] == 1
        facts["with a defect"] = f"{int(defect.sum()):,} ({defect.mean():.1%})"
    if labels is not None and class_names:
        counts = np.bincount(labels[:], minlength=len(class_names))
        facts["classes"] = ", ".join(f"{name} {int(many):,}" for name, many in zip(class_names, counts, strict=False))
    facts["grey levels"] = grey_levels(images)
    if masks is not None:
        drawn = is_defect(masks[survey(masks)])
        area = drawn.reshape(len(drawn), -1).sum(1, dtype=np.int64)
        if area.any():
            facts["defect area"] = f"{int(area[area > 0].min())} to {int(area.max())} pixels, median {float(np.median(area[area > 0])):.0f}"
    return facts


def grey_levels(images: LazyArray) -> str:
    """'12 to 240, mean 101.4, deviation 22.0', of all images or of evenly spread ones."""
    import numpy as np

    rows = survey(images)
    seen = np.zeros(256, np.int64)
    for row in rows.tolist():
        seen += np.bincount(images[row].reshape(-1), minlength=256)
    levels, share = np.arange(256), seen / seen.sum()
    mean = float(levels @ share)
    deviation = float(((levels - mean) ** 2 @ share) ** 0.5)
    low, high = levels[seen > 0][[0, -1]].tolist()
    found = f"{low} to {high}, mean {mean:.1f}, deviation {deviation:.1f}"
    return found if len(rows) == len(images) else f"{found} (of {len(rows):,} images, evenly spread)"


def places(masks: LazyArray) -> tuple[NDArray[np.float64], int]:
    """The share of masks [N,H,W] that mark each pixel as a defect, float64 [H,W], and how many were looked at."""
    import numpy as np

    rows = survey(masks)
    mean: NDArray[np.float64] = is_defect(masks[rows]).mean(0, dtype=np.float64)
    return mean, len(rows)
