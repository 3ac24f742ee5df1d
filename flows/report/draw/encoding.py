"""Pictures as data URIs within a number of bytes: lossless where that fits, else WebP, else fewer pixels."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fabloom.errors import DataError
from fabloom.kinds.gallery import reduced

if TYPE_CHECKING:
    from numpy.typing import NDArray

HEAT = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))
"""Anchors of the 'inferno' colour map."""
SHADES = 16
"""Colours of a map of scores."""
QUALITIES = (85, 60, 35)
"""Of WebP, tried in this order before pixels are given up."""
TRIED = 8
"""Pictures, evenly spread, by which is judged how much all of them take."""


def colours(places: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """The colour of each value between 0 and 1: uint8 [..,3]."""
    stops = np.linspace(0, 1, len(HEAT))
    found = np.stack([np.interp(places, stops, channel) for channel in np.array(HEAT).T], -1)
    return found.round().astype(np.uint8)


def png_data_uri(pixels: NDArray[np.uint8]) -> str:
    """`data:image/png;base64,…` of uint8 [H,W] or [H,W,C] with C of 1 (grey), 2 (grey, alpha), 3 (RGB) or 4 (RGBA)."""
    return _uri("png", lambda out: _image(pixels).save(out, "PNG", compress_level=6))


def data_uri(pixels: NDArray[np.uint8], room: int) -> str:
    """The same in about `room` characters: lossless if it fits, else WebP, with its sides halved as often as that takes."""
    (found,), _ = data_uris([pixels], room)
    return found


def data_uris(pictures: Sequence[NDArray[np.uint8]], room: int) -> tuple[list[str], int]:
    """Pictures of one shape in about `room` characters together, and how many pixels a side became one."""
    tried, count = _tried(pictures), len(pictures)
    if _fit(list(map(png_data_uri, tried)), count, room):
        return [png_data_uri(one) for one in pictures], 1
    by = 1
    while True:
        small = [smaller(one, by) for one in tried]
        fitting = next((quality for quality in QUALITIES if _fit([webp_data_uri(one, quality) for one in small], count, room)), None)
        if fitting is not None or min(pictures[0].shape[:2]) // by <= 32:
            return [webp_data_uri(smaller(one, by), fitting or QUALITIES[-1]) for one in pictures], by
        by *= 2


def webp_data_uri(pixels: NDArray[np.uint8], quality: int) -> str:
    """Lossy, `data:image/webp;base64,…`."""
    image = _image(pixels)
    return _uri("webp", lambda out: image.convert("RGBA" if image.mode == "LA" else "RGB").save(out, "WEBP", quality=quality))


def score_uris(scores: Sequence[NDArray[np.uint8]], room: int) -> list[str]:
    """Maps of scores uint8 [H,W] in `SHADES` colours, in about `room` characters together."""
    by = 1
    while min(scores[0].shape) // by > 32 and not _fit(
        [_shaded(reduced(one, by, largest=True)) for one in _tried(scores)], len(scores), room
    ):
        by *= 2
    return [_shaded(reduced(one, by, largest=True)) for one in scores]


def _tried(pictures: Sequence[NDArray[np.uint8]]) -> Sequence[NDArray[np.uint8]]:
    return pictures[:: -(-len(pictures) // TRIED)] if pictures else []


def _fit(uris: Sequence[str], count: int, room: int) -> bool:
    """Whether `count` pictures like these fit."""
    return sum(map(len, uris)) * count <= room * len(uris)


def _shaded(scores: NDArray[np.uint8]) -> str:
    from PIL import Image

    image = Image.fromarray(scores // (256 // SHADES))
    image.putpalette(colours(np.arange(SHADES) / (SHADES - 1)).tobytes())
    return _uri("png", lambda out: image.save(out, "PNG", bits=4))


def smaller(pixels: NDArray[np.uint8], by: int) -> NDArray[np.uint8]:
    """[H,W,..] averaged over blocks of `by` pixels."""
    if by == 1:
        return pixels
    return np.moveaxis(reduced(np.moveaxis(pixels.reshape(*pixels.shape[:2], -1), -1, 0), by), 0, -1)


def _image(pixels: NDArray[np.uint8]) -> Any:
    from PIL import Image

    array = np.asarray(pixels)
    flat = array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array
    if flat.dtype != np.uint8 or 0 in flat.shape or not (flat.ndim == 2 or (flat.ndim == 3 and flat.shape[2] in (2, 3, 4))):
        raise DataError(f"a picture is uint8 [H,W] or [H,W,C] with 1 to 4 channels, not {array.dtype} {array.shape}")
    return Image.fromarray(np.ascontiguousarray(flat))


def _uri(kind: str, save: Callable[[io.BytesIO], None]) -> str:
    out = io.BytesIO()
    save(out)
    return f"data:image/{kind};base64," + base64.b64encode(out.getvalue()).decode()
