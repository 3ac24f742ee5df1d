"""What the tasks of `images` will write and hold, from their parameters and what is known of their inputs. Light: `fabloom plan` asks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fabloom.method import Outline

from .params import AugmentParams, LoadParams
from .parts import ClassMaskParams, JoinParams, SplitParams, TileParams

GREY = ("1", "L", "I", "F", "I;16", "I;16B", "I;16L")
"""Modes of Pillow with one channel."""


def expected(params: Any, inputs: Mapping[str, Outline], sets: int = 1) -> Outline | None:
    """Of a task with these parameters, which has so many sets as inputs; None where nothing is known."""
    given = next(iter(inputs.values()), None)
    found: Outline | None = None
    if isinstance(params, LoadParams):
        found = loaded(params)
    elif given is None or given.image is None:
        pass
    elif isinstance(params, JoinParams):
        found = joined(list(inputs.values()), sets)
    elif isinstance(params, AugmentParams):
        found = varied(params, given)
    elif isinstance(params, SplitParams):
        found = parted(given)
    elif isinstance(params, ClassMaskParams):
        found = Outline(given.arrays, {} if given.arrays else given.attrs, given.most)
    elif isinstance(params, TileParams):
        found = tiled(params, given)
    return found


def varied(params: AugmentParams, given: Outline) -> Outline:
    """As many rows as are asked for."""
    assert given.image is not None  # asked before
    rows = {name: spec for name, spec in given.arrays.items() if name != "source"} or Outline.of_images(0, given.image).arrays
    found = Outline({**Outline(rows).with_count(params.count).arrays, "source": ((params.count,), "int32")})
    return found.holding(given.size, found.size)


def parted(given: Outline) -> Outline | None:
    """Some of the rows: how many, their sources decide."""
    part = Outline.of_image(given.image, given.size)
    return None if part is None else part.holding(given.size)


def loaded(params: LoadParams) -> Outline | None:
    """As many images as files, of the size of the first one: others of another size are refused."""
    entries = params.scene().entries
    image = _first(params, entries[0]) if entries and params.tile is None and not params.info_bar else None
    if image is None:
        return None
    count, plane = len(entries), image[1:]
    beside: dict[str, Any] = {"source": ((count,), "int32")}
    if any(entry.masks or entry.shapes is not None for entry in entries):
        beside["masks"] = ((count, *plane), "uint8")
    if all(entry.reference is not None for entry in entries):
        beside["references"] = ((count, *image), "uint8")
    found = Outline.of_images(count, image, **beside)
    return found.holding(found.size, found.size)


def _first(params: LoadParams, entry: Any) -> tuple[int, int, int] | None:
    """(C, H, W) of an image by its header; None where only its pixels tell, and for files that Pillow does not know."""
    from PIL import Image

    try:
        with Image.open(entry.path) as picture:
            channels = 1 if picture.mode in GREY or params.colour == "grey" else 3 if params.colour == "keep" else None
            turned = picture.getexif().get(0x0112, 1) != 1
            height, width = picture.height - params.crop_bottom, picture.width
    except Exception:  # NPY, say; and what cannot be read is for the loading to tell
        return None
    return None if channels is None or turned or params.channels is not None else (channels, height, width)


def joined(given: list[Outline], sets: int) -> Outline | None:
    """All rows of sets of one size, of which so many are inputs; masks where every set has them."""
    image = given[0].image
    if image is None or any(one.image != image for one in given):
        return None
    counts, sizes = [one.arrays["images"][0][0] for one in given if "images" in one.arrays], [one.size for one in given]
    if len(counts) < sets:
        unknown = len(given) < sets or None in sizes
        return Outline.of_image(image, None if unknown else sum(size or 0 for size in sizes))
    count = sum(counts)
    beside: dict[str, Any] = {"source": ((count,), "int32")}
    if all("masks" in one.arrays for one in given):
        beside["masks"] = ((count, *image[1:]), "uint8")
    found = Outline.of_images(count, image, **beside)
    return found.holding(*sizes, found.size)


def tiled(params: TileParams, given: Outline) -> Outline | None:
    """So many squares of each image as cover it."""
    assert given.image is not None  # asked before
    channels, height, width = given.image
    whole = max(height, width) <= params.size
    side = (height, width) if whole else (params.size, params.size)
    if params.size > min(height, width) and not whole:
        return None
    stride = params.stride or params.size
    each = 1
    for length, tile in zip((height, width), side, strict=True):
        each *= len(range(0, length - tile, stride)) + 1
    if "images" not in given.arrays:
        return Outline.of_image((channels, *side))
    count = each * given.arrays["images"][0][0]
    beside: dict[str, Any] = {name: ((count, *side), given.arrays[name][1]) for name in ("masks", "scores") if name in given.arrays}
    if "references" in given.arrays:
        beside["references"] = ((count, channels, *side), "uint8")
    found = Outline.of_images(count, (channels, *side), **beside)
    return found.holding(found.size)
