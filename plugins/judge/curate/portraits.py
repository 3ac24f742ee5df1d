"""Single defects as numbers: where each lies, how large it is, by how much it differs from what is around it, how sure a segmenter is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fabloom.plugins.blocks.components import EIGHT
from fabloom.plugins.blocks.defects import Defects

Real = NDArray[np.float64]
AROUND = 3
"""Pixels around a defect that it is held against."""


@dataclass(frozen=True)
class Portraits:
    """Of every defect [D]: its image, its centre as shares of the sides (down, right), its pixels, its contrast in grey levels (mean inside
    against mean of the clean pixels up to 3 around), the largest probability on it; `defects` are the regions behind them.
    """

    image: NDArray[np.int64]
    y: Real
    x: Real
    area: Real
    contrast: Real
    sure: Real
    defects: Defects

    def __len__(self) -> int:
        return len(self.image)

    @classmethod
    def of(cls, images: Real, masks: NDArray[np.uint8], probability: NDArray[np.float32]) -> Self:
        """Of grey images [N,H,W], their masks (0, 1..K, 255) and the probabilities of a segmenter, both [N,H,W]."""
        defects = Defects.of(masks)
        numbers = np.arange(1, len(defects) + 1)
        centres = np.array(ndimage.center_of_mass(defects.parts > 0, defects.parts, numbers)).reshape(-1, 3)
        sure = np.array(ndimage.maximum(probability, defects.parts, numbers)).reshape(-1)
        sides = np.array(masks.shape[1:])
        places = (centres[:, 1:] + 0.5) / sides
        contrast = np.array([_contrast(images, masks, defects, number, box) for number, box in enumerate(_boxes(defects), start=1)])
        return cls(defects.image, places[:, 0], places[:, 1], defects.area.astype(float), contrast.reshape(-1), sure.astype(float), defects)

    @property
    def numbers(self) -> Real:
        """Place, size and contrast [D,4], as they are held against one another: sizes in octaves."""
        return descriptors(self.y, self.x, self.area, self.contrast)


def descriptors(y: Real, x: Real, area: Real, contrast: Real) -> Real:
    """Place, octaves of area and contrast of defects as one array [D,4]."""
    return np.stack([y, x, np.log2(np.maximum(area, 1)), contrast], 1)


def _boxes(defects: Defects) -> list[tuple[slice, ...]]:
    return list(ndimage.find_objects(defects.parts))


def _contrast(images: Real, masks: NDArray[np.uint8], defects: Defects, number: int, box: tuple[slice, ...]) -> float:
    """How far the mean of a defect lies from that of the clean pixels around it; 0 where there is none."""
    row = box[0].start
    near = tuple(slice(max(one.start - AROUND, 0), one.stop + AROUND) for one in box[1:])
    inside, clean, image = (array[row][near] for array in (defects.parts, masks, images))
    own = inside == number
    ring = ndimage.binary_dilation(own, EIGHT, AROUND) & (clean == 0)
    return float(abs(image[own].mean() - image[ring].mean())) if ring.any() else 0.0
