"""What the pixels of a mask say: 0 clean, 1..K a defect of a class, 255 cannot tell.

With one class a mask holds 0 and 1. With several, value k means `class_names[k]`, so `class_names[0]` is the clean class.
255 is neither: such a pixel counts in no loss and no metric, and alone it makes no image a defect image. Of an image whose mask is
255 all over nobody can tell where a defect is; whether it has one its domain may say.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fabloom.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

UNKNOWN = 255
"""The value of a pixel of which nobody can tell whether it is a defect."""


def is_defect(masks: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """True on pixels of 1..K of masks of any shape."""
    return (masks > 0) & (masks < UNKNOWN)


def drawn_domain(masks: NDArray[np.uint8]) -> NDArray[np.int8]:
    """int8 [N], 1 where any pixel of masks [N,H,W] is 1..K; an image with 255 alone is 0."""
    found: NDArray[np.int8] = is_defect(masks).reshape(len(masks), -1).any(1).astype("int8")
    return found


def tells_classes(masks: NDArray[np.uint8]) -> bool:
    """Whether a value above 1 (255 aside) names a class by itself."""
    return bool((is_defect(masks) & (masks > 1)).any())


def agreed_domain(masks: NDArray[np.uint8], domain: Any | None) -> Any:
    """The domain that the masks [N,H,W] say. Raises DataError where a given one says something else.

    Warns of masks of 0 and 255 alone without a domain: they were probably drawn as black and white.
    """
    import numpy as np

    drawn = drawn_domain(masks)
    if domain is None:
        if not drawn.any() and (masks == UNKNOWN).any():
            warnings.warn(
                "masks hold 0 and 255 alone, and 255 means 'cannot tell': no image has a defect. "
                "Divide masks that were drawn in black and white by 255, or give the domain to say that this is meant.",
                stacklevel=3,
            )
        return drawn
    wrong = contradicted(masks, np.asarray(domain))
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        unsure = " (255 means 'cannot tell'; divide masks drawn in black and white by 255)" if (masks[row] == UNKNOWN).any() else ""
        raise DataError(f"image {row}: domain says {int(domain[row])} but its mask says {int(drawn[row])}{unsure}")
    return domain


def contradicted(masks: NDArray[np.uint8], domain: NDArray[np.int8]) -> NDArray[np.bool_]:
    """True [N] where the masks [N,H,W] and the domain [N] say different things; a mask of 255 all over goes with either domain."""
    wrong: NDArray[np.bool_] = (domain != drawn_domain(masks)) & ~((domain == 1) & (masks == UNKNOWN).all((1, 2)))
    return wrong


def check_classes(masks: NDArray[np.uint8], labels: NDArray[np.int16] | None, names: Sequence[str]) -> None:
    """Raise DataError where the values of masks [N,H,W] fit neither one class nor `names`, or contradict the labels [N]."""
    import numpy as np

    several = tells_classes(masks)
    if several and not names:
        raise DataError(
            f"masks hold the value {_highest(masks)} without class names; a mask is 0 clean, 1 defect, 255 cannot tell, "
            "or with class_names (the clean class first) an index into them"
        )
    if names and (several or labels is None) and _highest(masks) >= len(names):
        raise DataError(
            f"masks hold the value {_highest(masks)} but class_names holds {len(names)} names; "
            "value k means class_names[k], and class_names[0] is the clean class"
        )
    if not several or labels is None:
        return
    for row, (mask, label) in enumerate(zip(masks, labels.tolist(), strict=True)):
        held = set(np.unique(mask).tolist()) - {0}
        if (label == 0 and held - {UNKNOWN}) or (label > 0 and not held & {label, UNKNOWN}):
            said = ", ".join(names[k] for k in sorted(held - {UNKNOWN})) or names[0]
            raise DataError(f"image {row}: its label says '{names[label]}' but its mask says '{said}'")


def _highest(masks: NDArray[np.uint8]) -> int:
    """The largest value but 255."""
    return int(masks.max(initial=0, where=masks != UNKNOWN))
