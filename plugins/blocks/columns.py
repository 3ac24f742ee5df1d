"""Everything that a set says about some of its images, as `ImageSet.write` takes it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fabloom.kinds import ImageSet

GREY = ("grey_low", "grey_high", "grey_given")
"""Attributes that say which values became black and white."""


def columns(images: ImageSet, rows: NDArray[np.int64]) -> dict[str, Any]:
    """Masks, scores, references, domain, labels and sources of rows [M] of a set; what the set has not is left out."""
    beside = {name: getattr(images, name) for name in ("masks", "scores", "references", "domain", "labels")}
    found: dict[str, Any] = {name: np.asarray(array[...])[rows] for name, array in beside.items() if array is not None}
    if images.class_names:
        found["class_names"] = images.class_names
    return found | images.origins(rows)


def grey_attrs(images: ImageSet) -> dict[str, Any]:
    """How grey levels of the files became those of the set."""
    return {name: images.attrs[name] for name in GREY if name in images.attrs}
