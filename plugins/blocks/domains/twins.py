"""A defect image, its clean twin and the mask of what differs, made from an image of either domain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from .differences import Finder, Pixels
from .translator import CLEAN, DEFECT, levels, stacked

Masks = NDArray[np.uint8]
LARGEST = 0.3
"""Share of an image above which a difference is no defect but another image."""
SOFT = 0.7
"""Deviation in pixels of the edge along which a defect is put into an image."""


@dataclass(frozen=True)
class Twins:
    """Defect images and clean images uint8 [B,C,H,W], and masks [B,H,W] of what differs."""

    defect: Pixels
    clean: Pixels
    masks: Masks

    @property
    def seen(self) -> NDArray[np.bool_]:
        """Which of them have a difference that is neither too small nor as large as an image [B]."""
        share = (self.masks > 0).mean((1, 2))
        found: NDArray[np.bool_] = (share > 0) & (share <= LARGEST)
        return found

    def at(self, which: NDArray[np.bool_]) -> Twins:
        """Some of them."""
        return Twins(self.defect[which], self.clean[which], self.masks[which])


@dataclass(frozen=True)
class Maker:
    """Makes twins with the threshold of a finder; `composite` puts what is made into the image it was made of, along its mask."""

    finder: Finder
    threshold: float
    composite: bool

    def paired(self, pixels: Pixels, domain: int, fresh: Tensor | None = None) -> Twins:
        """Images of one domain, as they are, with the twins that they have in the other."""
        other = DEFECT if domain == CLEAN else CLEAN
        x = self._stacked(pixels)
        translate = self.finder.translator.translate
        if self.finder.params.against == "input":
            own, (made,) = x, translate(x, domain, [other], fresh)
        else:
            own, made = translate(x, domain, [domain, other], fresh)
        masks = self._masks(own, made)
        twins = self._levels(made)
        if self.composite:
            twins = pasted(twins, pixels, masks)
        return Twins(pixels, twins, masks) if domain == DEFECT else Twins(twins, pixels, masks)

    def varied(self, pixels: Pixels, domain: int, fresh: Tensor | None) -> Twins:
        """Others like the images: both twins are made."""
        defect, clean = self.finder.translator.translate(self._stacked(pixels), domain, [DEFECT, CLEAN], fresh)
        masks = self._masks(defect, clean)
        one, other = self._levels(defect), self._levels(clean)
        return Twins(pasted(one, other, masks) if self.composite else one, other, masks)

    def _stacked(self, pixels: Pixels) -> Tensor:
        return stacked(self.finder.translator.grey, pixels, self.finder.device)

    def _levels(self, values: Tensor) -> Pixels:
        return levels(self.finder.translator.grey, values)

    def _masks(self, one: Tensor, other: Tensor) -> Masks:
        return self.finder.masks(self.finder.map(one, other), self.threshold)


def pasted(made: Pixels, ground: Pixels, masks: Masks) -> Pixels:
    """`made` where the mask is, `ground` two pixels away from it and farther, both [B,C,H,W]; soft between."""
    return np.stack([_pasted(*each) for each in zip(made, ground, masks, strict=True)])


def _pasted(made: Pixels, ground: Pixels, mask: Masks) -> Pixels:
    near, reached = (ndimage.binary_dilation(mask, iterations=steps) for steps in (1, 2))
    soft = ndimage.gaussian_filter(near.astype(np.float64), SOFT) * reached
    mixed: Pixels = np.rint(soft * made + (1 - soft) * ground).astype(np.uint8)
    return mixed
