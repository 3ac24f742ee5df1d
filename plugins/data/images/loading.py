"""From files to a set: check all headers, decode, bring to one colour and one grey range, cut tiles, write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError, Interrupted
from fabloom.kinds import ImageSet
from fabloom.kinds.origin import printable
from fabloom.method import Context

from .entries import Entry
from .params import LoadParams
from .reading import decode, header

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of R, G, B in grey (ITU-R BT.601)."""


@dataclass(frozen=True)
class Loaded:
    """A decoded file: pixels [H,W,C] and mask [H,W] in {0,1} or None."""

    entry: Entry
    pixels: NDArray[Any]
    mask: NDArray[np.uint8] | None


def run(ctx: Context, params: LoadParams) -> ImageSet:
    """Load and write the set."""
    entries = params.scene().entries
    _check_headers(entries, params)
    loaded: list[Loaded] = []
    with ctx.progress(len(entries), unit="file", name="load") as bar:
        for entry in entries:
            if ctx.stop_requested():
                raise Interrupted(f"stopped after {len(loaded)} of {len(entries)} files. Run the same command again to start over.")
            mask = _mask(entry)
            loaded.append(Loaded(entry, _opaque(ctx, entry.name, decode(entry.path)), mask))
            bar.advance()
    loaded = _one_colour(loaded, params.colour)
    loaded, low, high = _one_range(loaded, params.grey_range)
    images, masks, domain = _stack(loaded, params)
    given = {"grey_given": True} if params.grey_range is not None else {}
    attrs = {"grey_low": low, "grey_high": high, "files": len(entries), **given}
    return ImageSet.write(ctx, images, masks=masks, domain=domain, **_origins(loaded, params), channels=images.shape[1], attrs=attrs)


def _check_headers(entries: Sequence[Entry], params: LoadParams) -> None:
    first = header(entries[0].path, params.max_pixels)
    for entry in entries:
        found = header(entry.path, params.max_pixels)
        if params.tile is None and found != first:
            raise DataError(
                f"{entry.path}: {found.height} x {found.width}, but '{entries[0].name}' is {first.height} x {first.width}; "
                "bring all images to one size or cut them with `tile`"
            )
        if params.tile is not None and min(found.height, found.width) < params.tile:
            raise DataError(f"{entry.path}: {found.height} x {found.width} is smaller than tile={params.tile}; lower tile or remove it")
        if params.tile is not None and entry.domain == 1 and not entry.masks:
            raise DataError(f"{entry.path}: without a mask it is unknown which tiles hold the defect; add masks or leave out tile")
        if entry.masks:
            drawn = header(entry.masks[0][1], params.max_pixels)
            if drawn != found:
                raise DataError(f"{entry.masks[0][1]}: {drawn.height} x {drawn.width}, but its image is {found.height} x {found.width}")


def _mask(entry: Entry) -> NDArray[np.uint8] | None:
    """The mask of an image as 0 and 1; it may be drawn with any one value or colour."""
    if not entry.masks:
        return None
    pixels = decode(entry.masks[0][1])
    pixels = pixels[..., :3] if pixels.shape[2] == 4 else pixels
    mask: NDArray[np.uint8] = (pixels != 0).any(axis=2).astype(np.uint8)
    colours = np.unique(pixels[mask > 0], axis=0)
    if len(colours) > 1:
        raise DataError(f"{entry.masks[0][1]}: holds {len(colours)} values beside 0; a mask has one (save it without lossy compression)")
    if entry.domain is not None and entry.domain != int(mask.any()):
        state = "clean, but its mask marks pixels" if mask.any() else "a defect image, but its mask is empty"
        raise DataError(f"{entry.masks[0][1]}: '{entry.name}' is {state}; mend the mask or move the image")
    return mask


def _opaque(ctx: Context, name: str, pixels: NDArray[Any]) -> NDArray[Any]:
    """Without alpha; what is not opaque is composited over black."""
    if pixels.shape[2] != 4:
        return pixels
    colour, alpha = pixels[..., :3], pixels[..., 3:]
    full = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "ui" else 1.0
    if (alpha == full).all():
        return colour
    ctx.log(f"{name}: transparent pixels are composited over black")
    mixed = colour * (alpha / full)
    flat: NDArray[Any] = (np.rint(mixed) if pixels.dtype.kind in "ui" else mixed).astype(pixels.dtype)
    return flat


def _one_colour(loaded: Sequence[Loaded], colour: str) -> list[Loaded]:
    """All files with one number of channels: 1 or 3."""
    if colour == "keep":
        odd = next((item for item in loaded if item.pixels.shape[2] != loaded[0].pixels.shape[2]), None)
        if odd is not None:
            raise DataError(
                f"{odd.entry.path}: {odd.pixels.shape[2]} channels, but '{loaded[0].entry.name}' has {loaded[0].pixels.shape[2]}; "
                "use colour auto or grey"
            )
        return list(loaded)
    grey = [item.pixels.shape[2] == 1 or bool((item.pixels == item.pixels[..., :1]).all()) for item in loaded]
    if colour == "auto" and not all(grey):
        return [Loaded(item.entry, np.repeat(item.pixels, 4 - item.pixels.shape[2], 2)[..., :3], item.mask) for item in loaded]
    return [
        Loaded(item.entry, item.pixels[..., :1] if equal else _luma(item.pixels), item.mask)
        for item, equal in zip(loaded, grey, strict=True)
    ]


def _luma(pixels: NDArray[Any]) -> NDArray[Any]:
    mixed = (pixels @ LUMA)[..., None]
    luma: NDArray[Any] = (np.rint(mixed) if pixels.dtype.kind in "ui" else mixed).astype(pixels.dtype)
    return luma


def _one_range(loaded: Sequence[Loaded], given: tuple[float, float] | None) -> tuple[list[Loaded], float, float]:
    """uint8 files, and the values (low, high) that became 0 and 255: the given ones, else the extremes. 8 bits stay as they are."""
    odd = next((item for item in loaded if item.pixels.dtype.newbyteorder("=") != loaded[0].pixels.dtype.newbyteorder("=")), None)
    if odd is not None:
        raise DataError(
            f"{odd.entry.path}: holds {odd.pixels.dtype}, but '{loaded[0].entry.name}' holds {loaded[0].pixels.dtype}; "
            "grey levels of several depths cannot share one range: convert them to one type"
        )
    low = min(float(item.pixels.min()) for item in loaded)
    high = max(float(item.pixels.max()) for item in loaded)
    if low == high:
        raise DataError(f"{loaded[0].entry.path.parent}: every pixel of the set is {low:g}; there is nothing to learn from it")
    if loaded[0].pixels.dtype == np.uint8:
        return list(loaded), 0.0, 255.0
    low, high = given or (low, high)
    # both ends are halved first, so that the span of the widest float range is finite
    half = high / 2 - low / 2
    share = [((item.pixels.astype(np.float64) / 2 - low / 2) / half).clip(0, 1) for item in loaded]
    scaled = [np.rint(one * 255).astype(np.uint8) for one in share]
    return [Loaded(item.entry, pixels, item.mask) for item, pixels in zip(loaded, scaled, strict=True)], low, high


def _tiles(array: NDArray[Any], tile: int | None, stride: int | None) -> NDArray[Any]:
    """[T,tile,tile,...] of an array [H,W,...], row by row; what does not fill a tile at the right and bottom is left out."""
    if tile is None:
        return array[None]
    step = stride or tile
    rows, columns = (range(0, length - tile + 1, step) for length in array.shape[:2])
    return np.stack([array[y : y + tile, x : x + tile] for y in rows for x in columns])


def _origins(loaded: Sequence[Loaded], params: LoadParams) -> dict[str, Any]:
    """`source` and `source_names`: the file of each image, by its name relative to the folder; tiles share their file's."""
    counts = [1 if params.tile is None else len(_tiles(item.pixels[..., 0], params.tile, params.stride)) for item in loaded]
    return {
        "source": np.repeat(np.arange(len(loaded), dtype=np.int32), counts),
        "source_names": [printable(item.entry.name) for item in loaded],
    }


def _stack(loaded: Sequence[Loaded], params: LoadParams) -> tuple[NDArray[np.uint8], NDArray[np.uint8] | None, NDArray[np.int8] | None]:
    """Images [N,C,H,W], masks [N,H,W] and domain [N] of all files; a clean image without a mask file has an empty mask."""
    cut = [_tiles(item.pixels, params.tile, params.stride) for item in loaded]
    images = np.ascontiguousarray(np.concatenate(cut).transpose(0, 3, 1, 2))
    if any(item.mask is not None for item in loaded):
        drawn = [np.zeros(item.pixels.shape[:2], np.uint8) if item.mask is None else item.mask for item in loaded]
        return images, np.concatenate([_tiles(mask, params.tile, params.stride) for mask in drawn]), None
    domains = [item.entry.domain for item in loaded]
    known = [domain for domain in domains if domain is not None]
    if not known:
        return images, None, None
    if len(known) < len(domains):
        name = loaded[domains.index(None)].entry.name
        raise DataError(f"'{name}' is neither clean nor defect while other images are; extend the patterns `clean` and `defect`")
    return images, None, np.repeat(np.array(known, np.int8), [len(tiles) for tiles in cut])
