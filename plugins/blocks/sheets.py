"""Contact sheets and maps of reports: grey images stretched alike, values as colours, tiles with white gaps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

GAP = 4
HEAT = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
"""Anchors of a dark-to-light colour map."""


def stretched(images: NDArray[np.uint8], low: float, high: float) -> NDArray[np.uint8]:
    """Images [N,C,H,W] as [N,H,W,3] with grey `low` shown black and `high` white."""
    levels = (images.astype(np.float64) - low) * 255 / max(high - low, 1.0)
    colour = np.clip(levels, 0, 255).round().astype(np.uint8).transpose(0, 2, 3, 1)
    return colour if colour.shape[-1] == 3 else np.repeat(colour[..., :1], 3, -1)


def coloured(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Values [H,W] in [0,1] through the colour map, uint8 [H,W,3]."""
    stops = np.linspace(0, 1, len(HEAT))
    return np.stack([np.interp(values, stops, channel) for channel in np.array(HEAT).T], -1).round().astype(np.uint8)


def tiled(rows: Sequence[NDArray[np.uint8]], columns: int) -> NDArray[np.uint8]:
    """Rows of [n,H,W,3], n at most `columns`, with white gaps."""
    height, width = rows[0].shape[1:3]
    sheet = np.full((len(rows) * (height + GAP) - GAP, columns * (width + GAP) - GAP, 3), 255, np.uint8)
    for y, row in enumerate(rows):
        for x, tile in enumerate(row):
            top, left = y * (height + GAP), x * (width + GAP)
            sheet[top : top + height, left : left + width] = tile
    return sheet
