"""One colour and one grey range for a whole set: what of many channels and depths becomes uint8."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of R, G, B in grey (ITU-R BT.601)."""
SAMPLE = 2**24
"""Most values that percentiles of floats are taken of; a regular part of larger sets."""
FEW = 64
"""Fewer used levels than these are told."""

Named = Sequence[tuple[str, NDArray[Any]]]
"""Pixels [H,W,C] with the name of their file."""


def opaque(name: str, pixels: NDArray[Any], log: Callable[[str], None]) -> NDArray[Any]:
    """Without alpha; what is not opaque is composited over black. Raises DataError where nothing is to be seen."""
    if pixels.shape[2] != 4:
        return pixels
    colour, alpha = pixels[..., :3], pixels[..., 3:]
    full = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "ui" else 1.0
    if (alpha == full).all():
        return colour
    if not alpha.any():
        raise DataError(f"{name}: is wholly transparent; save it without alpha")
    log(f"{name}: transparent pixels are composited over black")
    mixed = colour * (alpha / full)
    flat: NDArray[Any] = (np.rint(mixed) if pixels.dtype.kind in "ui" else mixed).astype(pixels.dtype)
    return flat


def one_colour(named: Named, colour: str) -> list[NDArray[Any]]:
    """All files with one number of channels: 1 or 3, or as they are where they agree and `colour` is keep."""
    first = named[0][1].shape[2]
    if colour == "keep":
        odd = next(((name, pixels) for name, pixels in named if pixels.shape[2] != first), None)
        if odd is not None:
            raise DataError(f"{odd[0]}: {odd[1].shape[2]} channels, but '{named[0][0]}' has {first}; use colour auto or grey")
        return [pixels for _, pixels in named]
    grey = [pixels.shape[2] == 1 or bool((pixels == pixels[..., :1]).all()) for _, pixels in named]
    if colour == "auto" and not all(grey):
        return [np.repeat(pixels, 4 - pixels.shape[2], 2)[..., :3] for _, pixels in named]
    return [pixels[..., :1] if equal else _luma(pixels) for (_, pixels), equal in zip(named, grey, strict=True)]


def _luma(pixels: NDArray[Any]) -> NDArray[Any]:
    mixed = (pixels @ LUMA)[..., None]
    luma: NDArray[Any] = (np.rint(mixed) if pixels.dtype.kind in "ui" else mixed).astype(pixels.dtype)
    return luma


def one_range(
    named: Named,
    given: tuple[float, float] | None,
    percentiles: tuple[float, float],
    log: Callable[[str], None],
    *,
    stretch: bool = False,
) -> tuple[list[NDArray[np.uint8]], float, float]:
    """uint8 pixels, and the values (low, high) that became 0 and 255: the given ones, else percentiles of the set; 8 bits stay as they
    are, unless `stretch`.

    Where the percentiles are one value, the extremes. A range that leaves the set fewer than 64 levels is told in the log.
    """
    kind = named[0][1].dtype.newbyteorder("=")
    odd = next(((name, pixels) for name, pixels in named if pixels.dtype.newbyteorder("=") != kind), None)
    if odd is not None:
        raise DataError(
            f"{odd[0]}: holds {odd[1].dtype}, but '{named[0][0]}' holds {kind}; "
            "grey levels of several depths cannot share one range: convert them to one type"
        )
    arrays = [pixels for _, pixels in named]
    lowest, highest = min(float(pixels.min()) for pixels in arrays), max(float(pixels.max()) for pixels in arrays)
    if lowest == highest:
        raise DataError(f"every pixel of the set is {lowest:g} ('{named[0][0]}' and all others); there is nothing to learn from it")
    if kind == np.uint8 and not stretch:
        return arrays, 0.0, 255.0
    low, high = given or _percentiles(arrays, percentiles)
    if low == high:
        low, high = lowest, highest
    # both ends are halved first, so that the span of the widest float range is finite
    half = high / 2 - low / 2
    scaled = [np.rint(((pixels.astype(np.float64) / 2 - low / 2) / half).clip(0, 1) * 255).astype(np.uint8) for pixels in arrays]
    levels = int(np.count_nonzero(np.sum([np.bincount(one.ravel(), minlength=256) for one in scaled], axis=0)))
    if levels < FEW:
        log(
            f"the set uses {levels} of 256 grey levels: its values run from {lowest:g} to {highest:g}, and {low:g} to {high:g} became 0 to "
            "255. Where a data bar or hot pixels take the range, say crop_bottom, grey_percentiles or grey_range"
        )
    return scaled, low, high


def _percentiles(arrays: Sequence[NDArray[Any]], percentiles: tuple[float, float]) -> tuple[float, float]:
    """Values of the set, never between two: a mean of the widest floats would be infinite."""
    step = -(-sum(pixels.size for pixels in arrays) // SAMPLE)
    values = np.concatenate([pixels.ravel()[::step] for pixels in arrays])
    low, high = np.percentile(values, percentiles, method="inverted_cdf")
    return float(low), float(high)
