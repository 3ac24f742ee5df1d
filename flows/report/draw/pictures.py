"""Pixels for the page: sheets of samples with the outlines of their masks, and heat maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fabloom.kinds import LazyArray
from fabloom.kinds.gallery import reduced
from fabloom.kinds.masks import is_defect

from .encoding import HEAT, colours, data_uri, png_data_uri

__all__ = ["HEAT", "HeatMap", "Sheet", "heat_map", "outlines", "png_data_uri", "sample_sheet"]

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Pixels = LazyArray | NDArray[np.uint8]

SHOWN = 32
"""Images of a sheet, unless there are many sheets."""

TILE = 128
"""Most pixels of an image's side on a sheet; larger images are averaged down."""

SHEET_ROOM = 260_000
"""Characters of the page that a sheet may take."""


@dataclass(frozen=True)
class Sheet:
    """Samples side by side: a picture of width x height pixels, and the outlines of the masks as an SVG path (or '')."""

    uri: str
    width: int
    height: int
    outlines: str
    shown: int
    grey: tuple[int, int]
    shrunk: int


def sample_sheet(
    images: Pixels, masks: Pixels | None, columns: int, most: int = SHOWN, grey: tuple[int, int] | None = None, room: int = SHEET_ROOM
) -> Sheet:
    """The first `most` of images [N,C,H,W] on a transparent ground, the levels of `grey` shown black and white (default: their own)."""
    tiles, factor = sample_tiles(images, most)
    columns = min(columns, len(tiles))
    low, high = grey or grey_ends(tiles)
    stretched = np.clip((tiles - low) * (255.0 / max(high - low, 1)), 0, 255).round().astype(np.uint8)
    opaque = np.full((*tiles.shape[:3], 1), 255, np.uint8)
    sheet = _lay_out(np.concatenate([stretched, opaque], 3), columns)
    path = ""
    if masks is not None:
        drawn = np.stack([_shrink(is_defect(masks[row])[..., None], factor).max((1, 3)) for row in range(len(tiles))])
        path = outlines(_lay_out(drawn, columns)[..., 0])
    return Sheet(data_uri(sheet, room), sheet.shape[1], sheet.shape[0], path, len(tiles), (low, high), factor)


def sample_tiles(images: Pixels, most: int = SHOWN) -> tuple[NDArray[np.float64], int]:
    """The first `most` images as float [N,H,W,1 or 3], and how many pixels a side were averaged into one."""
    factor = -(-max(images.shape[2:]) // TILE)
    rows = range(min(most, len(images)))
    return np.stack([_shrink(_displayed(images[row]), factor).mean((1, 3)) for row in rows]), factor


def grey_ends(tiles: NDArray[np.float64]) -> tuple[int, int]:
    """The levels to be shown black and white."""
    low, high = (int(v) for v in np.percentile(tiles, (0.5, 99.5)))
    return low, high


def _displayed(image: NDArray[Any]) -> NDArray[Any]:
    """[C,H,W] as [H,W,1 or 3]: of any other number of channels the first."""
    return image.transpose(1, 2, 0) if len(image) == 3 else image[0][..., None]


def _shrink(image: NDArray[Any], factor: int) -> NDArray[Any]:
    """View of [H,W,C] as [h,factor,w,factor,C], cropped to whole blocks, ready to be reduced over axes 1 and 3."""
    height, width, channels = image.shape
    down, across = min(factor, height), min(factor, width)
    h, w = height // down, width // across
    return image[: h * down, : w * across].reshape(h, down, w, across, channels)


def _lay_out(tiles: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """Tiles [n,h,w,c] in rows of `columns`, with a gap of zeros between them."""
    count, height, width, channels = tiles.shape
    gap = max(2, max(height, width) // 16)
    rows = -(-count // columns)
    sheet = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), np.uint8)
    for index, tile in enumerate(tiles):
        y, x = index // columns * (height + gap), index % columns * (width + gap)
        sheet[y : y + height, x : x + width] = tile
    return sheet


def outlines(mask: NDArray[np.uint8]) -> str:
    """The borders between 0 and 1 of a mask [H,W], along the edges of its pixels, as an SVG path."""
    padded = np.pad(mask > 0, 1)
    parts = [f"M{x} {y}h{length}" for y, x, length in _runs((padded[1:] != padded[:-1])[:, 1:-1])]
    parts += [f"M{x} {y}v{length}" for x, y, length in _runs((padded[:, 1:] != padded[:, :-1])[1:-1].T)]
    return "".join(parts)


def short_outlines(mask: NDArray[np.bool_], most: int) -> tuple[str, int]:
    """The outlines of a mask in about `most` characters, and the size of a pixel in them: coarser where the mask is ragged."""
    by, drawn = 1, mask
    while RUN * _pieces(drawn) > most and min(mask.shape) // by > 8:
        by *= 2
        drawn = reduced(mask, by, largest=True)
    return outlines(drawn.astype(np.uint8)), by


RUN = 8
"""Characters that a straight piece of an outline takes, about."""


def _pieces(mask: NDArray[np.bool_]) -> int:
    """The number of straight pieces of the outlines of a mask."""
    padded = np.pad(mask, 1)
    across, down = padded[1:] != padded[:-1], (padded[:, 1:] != padded[:, :-1]).T
    return sum(int((edges[:, 1:] & ~edges[:, :-1]).sum()) for edges in (across, down))


def _runs(edges: NDArray[np.bool_]) -> list[tuple[int, int, int]]:
    """(line, start, length) of the runs of True along the second axis."""
    change = np.diff(np.pad(edges, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    starts, ends = np.argwhere(change == 1), np.argwhere(change == -1)
    return [(int(line), int(start), int(end - start)) for (line, start), (_, end) in zip(starts, ends, strict=True)]


@dataclass(frozen=True)
class HeatMap:
    """A map of values as a picture, and the largest of them."""

    uri: str
    width: int
    height: int
    peak: float


def heat_map(values: NDArray[np.floating[Any]]) -> HeatMap:
    """Values [H,W] in colour, from 0 to the largest."""
    peak = float(values.max())
    mean = _shrink(np.asarray(values, np.float64)[..., None], -(-max(values.shape) // (2 * TILE))).mean((1, 3))[..., 0]
    found = colours(mean / max(float(mean.max()), 1e-12))
    return HeatMap(png_data_uri(found), found.shape[1], found.shape[0], peak)
