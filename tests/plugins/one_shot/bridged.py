"""The image that the tests of methods without an anchor learn from."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import ndimage


def lines(seed: int = 0, side: int = 48, pitch: int = 12, row: int = 20) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """One image [1,side,side]: lines of this pitch with a bridge at a row, blurred and with noise."""
    draw = np.random.default_rng(seed)
    x, y = np.arange(side), np.arange(side)[:, None]
    bridge = (np.abs(y - row) < 3) & (x >= 1.5 * pitch - 3) & (x < 2 * pitch - 3)
    shape = ((x + 3) % pitch < pitch / 2) | bridge
    grey = 80 + 90 * ndimage.gaussian_filter(shape.astype(float), 1.2) + draw.normal(0, 4, (side, side))
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)[None]
