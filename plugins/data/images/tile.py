"""The task `tile`: squares of larger images, with everything that lies on their pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fabloom.errors import DataError
from fabloom.kinds import ImageSet
from fabloom.kinds.masks import UNKNOWN, is_defect
from fabloom.kinds.origin import row_origins
from fabloom.method import Context
from fabloom.plugins.blocks.columns import grey_attrs
from fabloom.plugins.blocks.components import EIGHT
from fabloom.plugins.blocks.truth import label_attrs

from .parts import TileParams

PIXELWISE = ("masks", "scores", "references")


def tile(ctx: Context, params: TileParams, images: ImageSet) -> ImageSet:
    """Write the tiles, those of an image from its upper left to its lower right."""
    height, width = images.images.shape[2:]
    whole = max(height, width) <= params.size
    if params.size > min(height, width) and not whole:
        raise DataError(f"tiles of {params.size} px do not fit into images of {height} x {width}; lower `size`")
    domain = None if images.domain is None else np.asarray(images.domain[...])
    if images.masks is None and domain is not None and domain.any():
        raise DataError(f"set {images.key[:12]} has defect images without masks: which tiles hold the defect is unknown. Label it first")
    side = (height, width) if whole else (params.size, params.size)
    corners = places((height, width), side, params.stride or params.size)
    arrays = {name: array for name in PIXELWISE if (array := getattr(images, name)) is not None}
    pixels = cut(images.images, corners, side)
    rows = np.repeat(np.arange(len(images)), len(corners))
    written: dict[str, Any] = {name: cut(array, corners, side) for name, array in arrays.items()}
    if images.masks is not None:
        for row in range(len(images)):
            at = slice(row * len(corners), (row + 1) * len(corners))
            without_rests(written["masks"][at], is_defect(np.asarray(images.masks[row])), corners, params.rest)
    if images.masks is None and domain is not None:
        written["domain"] = domain[rows]
    if images.class_names and images.mask_names == images.class_names:
        written["class_names"] = images.class_names
    attrs = {"tile": params.size, "tiles_of_an_image": len(corners), "tiled_from": images.key, **grey_attrs(images), **label_attrs(images)}
    origins = images.origins(rows) or row_origins(rows)
    return ImageSet.write(ctx, pixels, channels=pixels.shape[1], attrs=attrs, **written, **origins)


def places(size: tuple[int, int], side: tuple[int, int], stride: int) -> list[tuple[int, int]]:
    """Upper left corners that cover an image, the last of a row or column moved back to the edge."""
    starts = [[*range(0, length - tile, stride), length - tile] for length, tile in zip(size, side, strict=True)]
    return [(top, left) for top in starts[0] for left in starts[1]]


def cut(array: Any, corners: list[tuple[int, int]], side: tuple[int, int]) -> NDArray[Any]:
    """Tiles [N * corners,...,*side] of an array [N,...,H,W]. One image is held at a time."""
    found: NDArray[Any] = np.empty((array.shape[0] * len(corners), *array.shape[1:-2], *side), array.dtype)
    for row in range(array.shape[0]):
        image = np.asarray(array[row : row + 1])[0]
        for at, (top, left) in enumerate(corners, start=row * len(corners)):
            found[at] = image[..., top : top + side[0], left : left + side[1]]
    return found


def without_rests(tiles: NDArray[np.uint8], defect: NDArray[np.bool_], corners: list[tuple[int, int]], least: int) -> None:
    """Mark 255, in the tiles [T,h,w] of one image, each rest of a defect that reaches less than `least` pixels in from where it was cut.

    `defect` [H,W] says where the whole image has one: what ends at the tile's edge by itself, or at the image's, is no rest.
    """
    outside = np.pad(defect, 1)
    for tile, (top, left) in zip(tiles, corners, strict=True):
        parts, _ = ndimage.label(is_defect(tile), EIGHT)
        around = outside[top : top + len(tile) + 2, left : left + tile.shape[1] + 2]
        for number, box in enumerate(ndimage.find_objects(parts), start=1):
            if all(side.start > 0 and side.stop < length for side, length in zip(box, tile.shape, strict=True)):
                continue
            part = np.pad(parts == number, 1)
            further = around & ndimage.binary_dilation(part, EIGHT)
            ahead = ((further[0], box[0].stop), (further[-1], len(tile) - box[0].start))
            aside = ((further[:, 0], box[1].stop), (further[:, -1], tile.shape[1] - box[1].start))
            if any(cut.any() and depth < least for cut, depth in (*ahead, *aside)):
                tile[part[1:-1, 1:-1]] = UNKNOWN
