"""From files to a set: check all headers, decode, bring to one colour and one grey range, cut tiles, write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError, Interrupted
from fabloom.kinds import ImageSet
from fabloom.kinds.origin import printable
from fabloom.method import Context

from .entries import Entry, Scene
from .grey import one_colour, one_range, opaque
from .infobar import without_bar
from .masking import Masking
from .params import LoadParams
from .reading import Header, decode, header, turn
from .tiling import cut, origins, stacked
from .turning import orientation_of, size_of, turn_of

MOST_NAMED = 8
"""Files that the log names of many."""


@dataclass(frozen=True)
class Loaded:
    """A decoded file: pixels [H,W,C], mask [H,W] of classes or None, reference [H,W,C] or None."""

    entry: Entry
    pixels: NDArray[Any]
    mask: NDArray[np.uint8] | None
    reference: NDArray[Any] | None


def run(ctx: Context, params: LoadParams) -> ImageSet:
    """Load and write the set."""
    scene = params.scene()
    _tell(ctx, scene, params)
    params, told = without_bar(params, scene)
    if told:
        ctx.log(told)
    checked = _check_headers(scene.entries, params)
    masking = Masking(scene, params)
    loaded: list[Loaded] = []
    with ctx.progress(len(scene.entries), unit="file", name="load") as bar:
        for entry, (turned, found) in zip(scene.entries, checked, strict=True):
            if ctx.stop_requested():
                raise Interrupted(f"stopped after {len(loaded)} of {len(checked)} files. Run the same command again to start over.")
            pixels = _upright(ctx, entry.path, entry.name, turned, params, entry.page, found.pixels)
            reference = None
            if entry.reference is not None:
                own = orientation_of(entry.reference, turned, params, params.channels)
                reference = _upright(ctx, entry.reference, str(entry.reference), own, params)
            loaded.append(Loaded(entry, pixels, masking.of(entry, pixels.shape[:2], turned), reference))
            bar.advance()
    for note in masking.notes():
        ctx.log(note)
    return _write(ctx, params, scene, loaded)


def _tell(ctx: Context, scene: Scene, params: LoadParams) -> None:
    """What the reader of the log should know; files that are not read are refused where `strict` says so."""
    for note in scene.notes:
        ctx.log(note)
    if not scene.skipped:
        return
    more = f" and {len(scene.skipped) - MOST_NAMED} more" if len(scene.skipped) > MOST_NAMED else ""
    told = f"{len(scene.skipped)} files are not read: {', '.join(map(printable, scene.skipped[:MOST_NAMED]))}{more}"
    if params.strict:
        raise DataError(f"{params.path.path}: {told}; remove them or leave out strict")
    ctx.log(told)


def _check_headers(entries: Sequence[Entry], params: LoadParams) -> list[tuple[int, Header]]:
    """How each image is to be turned (1: not at all), and its header. Raises DataError for what cannot be read together."""
    sizes: list[tuple[int, int]] = []
    checked: list[tuple[int, Header]] = []
    for entry in entries:
        found = header(entry.path, params.max_pixels, channels=params.channels, page=entry.page, keep=True)
        others = [(path, header(path, params.max_pixels)) for _, path in entry.masks]
        if entry.reference is not None:
            others.append((entry.reference, header(entry.reference, params.max_pixels, channels=params.channels)))
        checked.append((turn_of(entry, found, others, params), found))
        sizes.append(size_of(found, params))
        _check_size(entry, sizes[-1], (sizes[0], entries[0].name), params)
        for path, other in others:
            if size_of(other, params) != sizes[-1]:
                told = size_of(other, params)
                raise DataError(f"{path}: {told[0]} x {told[1]}, but its image is {sizes[-1][0]} x {sizes[-1][1]}")
    return checked


def _check_size(entry: Entry, size: tuple[int, int], first: tuple[tuple[int, int], str], params: LoadParams) -> None:
    height, width = size
    if entry.size is not None and entry.size != (width, height):
        raise DataError(f"{entry.path}: {height} x {width}, but its annotation says {entry.size[1]} x {entry.size[0]}; annotate this file")
    if params.crop_bottom >= height:
        raise DataError(f"{entry.path}: has {height} rows, crop_bottom={params.crop_bottom} leaves none; lower it")
    if params.tile is None and size != first[0]:
        raise DataError(
            f"{entry.path}: {height} x {width}, but '{first[1]}' is {first[0][0]} x {first[0][1]}; "
            "bring all images to one size or cut them with `tile`"
        )
    if params.tile is not None and min(height - params.crop_bottom, width) < params.tile:
        raise DataError(f"{entry.path}: {height} x {width} is smaller than tile={params.tile}; lower tile or remove it")
    if (
        params.tile is not None
        and not entry.masks
        and entry.shapes is None
        and (entry.domain == 1 or (entry.label and entry.domain is None))
    ):
        raise DataError(f"{entry.path}: without a mask it is unknown which tiles hold the defect; add masks or leave out tile")


def _upright(
    ctx: Context, path: Path, name: str, turned: int, params: LoadParams, page: int | None = None, kept: NDArray[Any] | None = None
) -> NDArray[Any]:
    """The pixels of a file, turned, without the data bar and, unless its channels are asked for, without alpha."""
    pixels = turn(decode(path, channels=params.channels, page=page, kept=kept), turned)
    pixels = pixels[: len(pixels) - params.crop_bottom]
    return pixels if params.channels is not None else opaque(name, pixels, ctx.log)


def _write(ctx: Context, params: LoadParams, scene: Scene, loaded: list[Loaded]) -> ImageSet:
    """Bring images and references to one colour and range, cut, and write."""
    named = [(item.entry.name, item.pixels) for item in loaded]
    named += [(str(item.entry.reference), item.reference) for item in loaded if item.reference is not None]
    coloured = one_colour(named, "keep" if params.channels is not None else params.colour)
    levelled = list(zip((name for name, _ in named), coloured, strict=True))
    grey, low, high = one_range(levelled, params.grey_range, params.grey_percentiles, ctx.log, stretch=params.stretch)
    images = cut(grey[: len(loaded)], params)
    masks = None
    if any(item.mask is not None for item in loaded):  # a file without a mask is clean here: any other was refused
        masks = [np.zeros(item.pixels.shape[:2], np.uint8) if item.mask is None else item.mask for item in loaded]
    rows = stacked(scene, [item.entry for item in loaded], masks, [len(tiles) for tiles in images], params)
    references = _joined(cut(grey[len(loaded) :], params)) if len(grey) > len(loaded) else None
    given: dict[str, bool | int] = {"grey_given": True} if params.grey_range is not None else {}
    if params.info_bar:
        given["info_bar_rows"] = params.crop_bottom
    attrs = {"grey_low": low, "grey_high": high, "files": len(loaded), "layout": scene.layout, **given}
    made = _joined(images)
    names = [printable(item.entry.name) for item in loaded]
    return ImageSet.write(ctx, made, references=references, **rows, **origins(names, images), channels=made.shape[1], attrs=attrs)


def _joined(tiles: Sequence[NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """uint8 [N,C,H,W] of tiles [T,H,W,C] of each file."""
    return np.ascontiguousarray(np.concatenate(tiles).transpose(0, 3, 1, 2))
