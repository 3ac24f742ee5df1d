"""Dies as pixels: the codes of a wafer map, its two channels in an image set, and maps of any size brought to one.

A code is 0 where no die is, 1 for a die that passes and 2 for one that fails. They are names, not amounts: 1 lies not between 0 and 2.
So nothing here computes with them: each die of a result is one die of the wafer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Codes = NDArray[np.uint8]
EMPTY, PASS, FAIL = 0, 1, 2
CHANNELS = ("fail", "die")
ENCODING = {
    "channel 0": "fail: 255 where a die fails, 0 where one passes or none is",
    "channel 1": "die: 255 where a die is, 0 where none is",
}
"""What a set says of its channels."""


def encoded(codes: Codes) -> NDArray[np.uint8]:
    """Codes [...,H,W] as images [...,2,H,W] of 0 and 255: fails, and where dies are."""
    return np.stack([codes == FAIL, codes != EMPTY], -3).astype(np.uint8) * np.uint8(255)


def decoded(images: NDArray[Any]) -> Codes:
    """Images [...,2,H,W] as codes [...,H,W]; of generated grey levels a fail is what is above the middle, on a die alone."""
    fail, die = (images[..., channel, :, :] > 127 for channel in (0, 1))
    return np.where(die, np.where(fail, FAIL, PASS), EMPTY).astype(np.uint8)


def nearest(codes: Codes, size: int) -> Codes:
    """Codes [h,w] as [size,size]: each die is the one of the wafer that its middle falls on; smaller sizes leave dies out."""
    rows, columns = ((2 * np.arange(size) + 1) * side // (2 * size) for side in codes.shape)
    return codes[np.ix_(rows, columns)]


def padded(codes: Codes, size: int) -> Codes:
    """Codes [h,w] in the middle of [size,size], which is at least as large; no die around them."""
    above, left = ((size - side) // 2 for side in codes.shape)
    found = np.full((size, size), EMPTY, np.uint8)
    found[above : above + codes.shape[0], left : left + codes.shape[1]] = codes
    return found
