"""Own truth wins: what an image's given mask and domain make of the label that was found, and where the two contradict each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fabloom.kinds import ImageSet
from fabloom.kinds.masks import UNKNOWN, is_defect, tells_classes
from fabloom.plugins.blocks.components import EIGHT, Found
from fabloom.plugins.blocks.references import name_of

SHOWN = 50
"""Contradictions that the attributes name; of more they say how many."""


@dataclass
class Truth:
    """Given masks [N,H,W] and domain [N], either of them None, and what was found to contradict them, by row."""

    images: ImageSet
    masks: NDArray[np.uint8] | None = None
    domain: NDArray[np.int8] | None = None
    against: dict[int, str] = field(default_factory=dict)
    meets: list[float] = field(default_factory=list)

    @classmethod
    def of(cls, images: ImageSet) -> Truth:
        """What a set says of itself; of a generator's images nothing, whose classes are those that it was asked for."""
        if images.attrs.get("asked"):
            return cls(images)
        return cls(
            images,
            None if images.masks is None else np.asarray(images.masks),
            None if images.domain is None else np.asarray(images.domain),
        )

    def knows_clean(self, row: int) -> bool:
        """Whether an image is said to be clean: domain 0, and no mask that tells nothing."""
        return self.domain is not None and self.domain[row] == 0 and not self._blank(row)

    def _blank(self, row: int) -> bool:
        """Whether a row's own mask is 255 all over."""
        return self.masks is not None and bool((self.masks[row] == UNKNOWN).all())

    def tell(self, row: int, found: Found) -> None:
        """Note what was found against what is given."""
        if self.domain is None or (self._blank(row) and self.domain[row] == 0):
            return
        drawn = None if self.masks is None or self._blank(row) else is_defect(self.masks[row])
        if self.domain[row] == 0 and found.sure:
            self.against[row] = f"clean by its own truth, but {int(found.defect.sum())} pixels in {found.sure} places differ"
        elif self.domain[row] == 1 and not found.sure:
            doubt = f"only {found.doubtful} doubtful places differ" if found.doubtful else "nothing differs"
            self.against[row] = f"a defect by its own truth, but {doubt}"
        elif drawn is not None and drawn.any():
            known = self.masks[row] != UNKNOWN  # type: ignore[index]
            both, either = (drawn & found.defect & known).sum(), ((drawn | found.defect) & known).sum()
            self.meets.append(float(both / either))
            if not both:
                self.against[row] = "its own mask and what differs do not overlap"

    def settle(self, row: int, found: Found, difference: NDArray[np.float64]) -> NDArray[np.uint8]:
        """The mask of an image: its own; else the found one, emptied or completed to agree with its own domain."""
        if self.masks is not None and not (self._blank(row) and self._nameable(row)):
            own: NDArray[np.uint8] = self.masks[row]
            return own
        return self._classed(row, self._completed(row, found, difference))

    def made(self) -> str:
        """Of how many images the mask is a found one: all, some or none."""
        ours = [row for row in range(len(self.images)) if self.masks is None or (self._blank(row) and self._nameable(row))]
        return "none" if not ours else "all" if len(ours) == len(self.images) else "some"

    def _completed(self, row: int, found: Found, difference: NDArray[np.float64]) -> NDArray[np.uint8]:
        if self.domain is None or (self.domain[row] == 0 and self.masks is not None) or (self.domain[row] == 1 and found.sure):
            return found.mask
        if self.domain[row] == 0:
            return np.zeros_like(found.mask)
        return likeliest(found, difference)

    def _nameable(self, row: int) -> bool:
        """Whether a mask that is found can be of a class: there is one class, or the image's label says which."""
        return self.masks is None or not tells_classes(self.masks) or self.images.labels is not None

    def _classed(self, row: int, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A found mask with the value of the image's class, where given masks tell classes."""
        if self.masks is None or not tells_classes(self.masks) or self.images.labels is None:
            return mask
        return np.where(mask == 1, np.uint8(self.images.labels[row]), mask)

    def said(self, row: int, mask: NDArray[np.uint8]) -> int:
        """The domain of an image with its final mask: 1 as well where it is said to have a defect that nobody can place."""
        return int(is_defect(mask).any() or (self.domain is not None and self.domain[row] == 1))

    def attributes(self) -> Mapping[str, Any]:
        """Contradictions by file name, and how well given masks are met."""
        shown = {self._title(row): why for row, why in list(self.against.items())[:SHOWN]}
        left = len(self.against) - len(shown)
        return {
            "contradicted": len(self.against),
            **({"contradictions": shown | ({"and": f"{left} more"} if left else {})} if shown else {}),
            **({"given_iou": float(np.mean(self.meets))} if self.meets else {}),
        }

    def _title(self, row: int) -> str:
        """The file's name; with the row where a file has several."""
        name = name_of(self.images, row)
        several = self.images.source is not None and int((np.asarray(self.images.source) == self.images.source[row]).sum()) > 1
        return f"{name}, row {row}" if several else name


def within(found: NDArray[np.uint8], areas: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A found mask [H,W] inside given areas [H,W]: clean outside of them, 255 all over an area in which nothing is surely a defect."""
    drawn = areas != 0
    kept = np.where(drawn, found, np.uint8(0))
    parts, count = ndimage.label(drawn, EIGHT)
    sure = np.bincount(parts[kept == 1], minlength=count + 1) > 0
    kept[drawn & ~sure[parts]] = UNKNOWN
    return kept


def likeliest(found: Found, difference: NDArray[np.float64]) -> NDArray[np.uint8]:
    """The mask of an image that has a defect, though none was sure: the most different doubtful place; without any 255 all over."""
    parts, count = ndimage.label((found.mask == UNKNOWN) & (difference > 0), EIGHT)
    if not found.doubtful or not count:
        return np.full_like(found.mask, UNKNOWN)
    best = 1 + int(np.argmax(ndimage.maximum(difference, parts, range(1, count + 1))))
    mask = found.mask.copy()
    mask[parts == best] = 1
    return mask
