"""Overlay maps as pictures: colour for length, arrows for direction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fabloom.plugins.blocks import sheets

from .raster import Raster

SIDE = 256
"""Pixels of the picture of one wafer."""
ARROWS = 12
"""Arrows across a wafer."""
SCALE = np.array([(255, 255, 255), (198, 219, 239), (107, 174, 214), (33, 113, 181), (8, 48, 107)], np.float64)
"""White to dark blue."""


def sheet(rows: Sequence[NDArray[np.floating]], valid: NDArray[np.bool_], raster: Raster) -> tuple[NDArray[np.uint8], float]:
    """Maps [n,2,H,W] of several rows, one wafer each beside another: (picture uint8 [h,w,3], length in nm of the darkest colour)."""
    lengths = np.concatenate([np.hypot(maps[:, 0], maps[:, 1])[valid] for maps in rows])
    full = max(float(np.quantile(lengths, 0.98)), 1e-6)
    drawn = [[wafer(one, mask, raster, full) for one, mask in zip(maps, valid, strict=True)] for maps in rows]
    return tiled(drawn), full


def wafer(values: NDArray[np.floating], valid: NDArray[np.bool_], raster: Raster, full: float) -> NDArray[np.uint8]:
    """One map [2,H,W] as colour and arrows; the longest arrows reach the next one's foot at `full` nm."""
    from PIL import Image, ImageDraw

    shown = Image.fromarray(heat(np.hypot(values[0], values[1]), valid, full))
    draw = ImageDraw.Draw(shown)
    step = raster.size / ARROWS
    for row in range(ARROWS):
        for column in range(ARROWS):
            i, j = int((row + 0.5) * step), int((column + 0.5) * step)
            if not valid[i, j]:
                continue
            x, y = (j + 0.5) * SIDE / raster.size, (i + 0.5) * SIDE / raster.size
            dx, dy = (float(v) / full * SIDE / ARROWS for v in values[:, i, j])
            head = (x + dx, y - dy)  # dy points up, rows go down
            draw.line([(x, y), head], fill=(20, 20, 20), width=1)
            draw.ellipse([head[0] - 1.5, head[1] - 1.5, head[0] + 1.5, head[1] + 1.5], fill=(20, 20, 20))
    return np.asarray(shown)


def heat(values: NDArray[np.floating], valid: NDArray[np.bool_], full: float) -> NDArray[np.uint8]:
    """A map [H,W] of values from 0 as colour, darkest at `full`, enlarged to a picture of `SIDE`; grey where not valid."""
    stops = np.linspace(0, full, len(SCALE))
    picture = np.stack([np.interp(values, stops, channel) for channel in SCALE.T], -1)
    picture[~valid] = 225
    rows = np.arange(SIDE) * len(values) // SIDE
    return picture[np.ix_(rows, rows)].round().astype(np.uint8)


def tiled(pictures: Sequence[Sequence[NDArray[np.uint8]]]) -> NDArray[np.uint8]:
    """Pictures [h,w,3] in rows and columns, with white between them."""
    return sheets.tiled([np.stack(row) for row in pictures], max(map(len, pictures)))
