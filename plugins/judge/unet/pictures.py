"""Pictures to look at: images with the true outline over what was predicted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import find_boundaries

from fabloom.kinds.gallery import reduced
from fabloom.plugins.blocks.grey import GreyMap

Pixel = TypeVar("Pixel", bound=np.generic)

TRUE, FOUND = (90, 220, 90), (235, 80, 60)
"""Colours: green outline of the truth, red tint of a prediction."""
SIDE = 96
"""Pixels that a small image is enlarged to, about."""
LARGEST = 192
"""Pixels that the side of a larger image is averaged down to, at most."""
GAP = 4


def panel(images: NDArray[np.uint8], truth: NDArray[Any], found: Sequence[NDArray[np.bool_]], grey: GreyMap) -> NDArray[np.uint8]:
    """A grid uint8 [h,w,3]: a column for each image [N,C,H,W]; the first row is the bare image, then one row a predictor [N,H,W]."""
    by = -(-max(images.shape[2:]) // LARGEST)
    images, truth, found = reduced(images, by), reduced(truth, by, largest=True), [reduced(masks, by, largest=True) for masks in found]
    scale = max(1, SIDE // images.shape[-1])
    truth, large = enlarged(truth, scale), enlarged(images, scale)
    stretched = (large.astype(np.float64) - grey.low) * 255 / (grey.high - grey.low)
    colour = np.clip(stretched, 0, 255)[:, :3].transpose(0, 2, 3, 1)
    bare = np.repeat(colour, 3, -1) if colour.shape[-1] != 3 else colour
    outline = np.stack([find_boundaries(mask, mode="outer") for mask in truth])
    rows = [bare]
    for masks in found:
        tinted = bare.copy()
        tinted[enlarged(masks, scale)] = 0.5 * tinted[enlarged(masks, scale)] + 0.5 * np.array(FOUND)
        tinted[outline] = TRUE
        rows.append(tinted)
    return tiled(rows)


def enlarged(values: NDArray[Pixel], scale: int) -> NDArray[Pixel]:
    """Each pixel of [..,H,W] as a square of `scale` pixels."""
    return values.repeat(scale, -2).repeat(scale, -1)


def tiled(rows: Sequence[NDArray[np.float64]]) -> NDArray[np.uint8]:
    """Rows of [N,H,W,3] put together with white gaps."""
    cells = np.pad(np.stack(rows), ((0, 0), (0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255)
    count, images, height, width, _ = cells.shape
    return cells.transpose(0, 2, 1, 3, 4).reshape(count * height, images * width, 3)[:-GAP, :-GAP].round().astype(np.uint8)
