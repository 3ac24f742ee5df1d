"""The task `tile`: squares of larger images, with everything that lies on their pixels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds import ImageSet
from fabloom.kinds.masks import drawn_domain
from fabloom.kinds.origin import row_origins
from fabloom.method import Context

from .columns import grey_attrs
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
    kept = chosen(ctx, params, images, corners, side)
    pixels = cut(images.images, kept, corners, side)
    rows = kept // len(corners)
    written: dict[str, Any] = {name: cut(array, kept, corners, side) for name, array in arrays.items()}
    if images.masks is None and domain is not None:
        written["domain"] = domain[rows]
    if images.class_names and images.mask_names == images.class_names:
        written["class_names"] = images.class_names
    attrs = {"tile": params.size, "tiles_of_an_image": len(corners), "tiled_from": images.key, **grey_attrs(images)}
    origins = images.origins(rows) or row_origins(rows)
    return ImageSet.write(ctx, pixels, channels=pixels.shape[1], attrs=attrs, **written, **origins)


def places(size: tuple[int, int], side: tuple[int, int], stride: int) -> list[tuple[int, int]]:
    """Upper left corners that cover an image, the last of a row or column moved back to the edge."""
    starts = [[*range(0, length - tile, stride), length - tile] for length, tile in zip(size, side, strict=True)]
    return [(top, left) for top in starts[0] for left in starts[1]]


def chosen(ctx: Context, params: TileParams, images: ImageSet, corners: list[tuple[int, int]], side: tuple[int, int]) -> NDArray[np.int64]:
    """Numbers of the tiles to keep, counted through all images: all of them, or of the clean ones so many that they outnumber few."""
    every = np.arange(len(images) * len(corners))
    if params.clean is None or images.masks is None:
        return every
    defective = drawn_domain(cut(images.masks, every, corners, side)) > 0
    clean = np.flatnonzero(~defective)
    if not defective.any():
        raise DataError(f"no tile of set {images.key[:12]} has a defect, so that `clean` keeps none; leave it out")
    wanted = min(len(clean), round(params.clean * int(defective.sum())))
    draw = np.random.default_rng([ctx.seed & 0xFFFFFFFF, ctx.seed >> 32])
    return np.sort(np.concatenate([np.flatnonzero(defective), draw.permutation(clean)[:wanted]]))


def cut(array: Any, kept: NDArray[np.int64], corners: list[tuple[int, int]], side: tuple[int, int]) -> NDArray[Any]:
    """Tiles [M,...,*side] of an array [N,...,H,W]; a tile's number is image * corners + corner. One image is held at a time."""
    shape = (len(kept), *array.shape[1:-2], *side)
    found: NDArray[Any] = np.empty(shape, array.dtype)
    rows, spots = np.divmod(kept, len(corners))
    for row in np.unique(rows).tolist():
        image = np.asarray(array[row : row + 1])[0]
        for at in np.flatnonzero(rows == row).tolist():
            top, left = corners[spots[at]]
            found[at] = image[..., top : top + side[0], left : left + side[1]]
    return found
