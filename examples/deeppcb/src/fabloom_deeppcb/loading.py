"""The task `load`: check everything, then decode pair by pair, cut, and keep what was not seen before."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from fabloom import Context, DataError, ImageSet, Interrupted

from .layout import CLASSES, Box, Pair, find_pairs, read_boxes
from .marking import Grey, classes, differing, most
from .method import LoadParams

MAX_PIXELS = 2**24
"""A larger image is refused before it is decoded."""
Row = tuple[Grey, Grey, tuple[int, int, int, int]]
"""A crop, the class of each of its pixels, and where it is from."""


def run(ctx: Context, params: LoadParams) -> ImageSet:
    """Load and write the set."""
    pairs = find_pairs(params.folder.path)
    height, width = _one_size(pairs)
    if params.crop > min(height, width):
        raise DataError(f"{params.folder.path}: images of {width} x {height} pixels hold no crop of {params.crop}; lower `crop`")
    if params.part != "all" and len(pairs) < params.test_every:
        raise DataError(
            f"{params.folder.path}: of {len(pairs)} pairs every {params.test_every}th is none; lower `test_every` or use part=all"
        )
    boxes = [read_boxes(pair.text, height, width) for pair in pairs]
    rows: list[Row] = []
    seen: set[bytes] = set()
    with ctx.progress(len(pairs), unit="pair", name="load") as bar:
        for index, pair in enumerate(pairs):
            if ctx.stop_requested():
                raise Interrupted(f"stopped after {index} of {len(pairs)} pairs. Run the same command again to start over.")
            wanted = params.part == "all" or (index % params.test_every == params.test_every - 1) == (params.part == "test")
            # pairs of the other part are read too: what they showed first is not shown again
            for row in _crops(index, pair, boxes[index], params):
                mark = hashlib.blake2b(row[0].tobytes(), digest_size=16).digest()
                if mark not in seen and wanted:
                    rows.append(row)
                seen.add(mark)
            bar.advance()
    return _write(ctx, rows, pairs=len({row[2][0] for row in rows}), boxes=sum(len(boxes[i]) for i in {row[2][0] for row in rows}))


def _write(ctx: Context, rows: list[Row], *, pairs: int, boxes: int) -> ImageSet:
    if not rows:
        raise DataError("no crop is left: all are repetitions of crops of the other part")
    drawn = np.stack([row[1] for row in rows])
    written = ImageSet.write(
        ctx,
        np.stack([row[0] for row in rows])[:, None],
        masks=(drawn > 0).astype(np.uint8),
        labels=np.array([most(one, len(CLASSES)) for one in drawn], np.int16),
        class_names=CLASSES,
        attrs={"pairs": pairs, "boxes": boxes},
    )
    ctx.staging.put("origin", np.array([row[2] for row in rows], np.int32))
    return written


def _crops(index: int, pair: Pair, boxes: list[Box], params: LoadParams) -> Iterator[Row]:
    template, tested = _decode(pair.template), _decode(pair.tested)
    marked = differing(template, tested, params.threshold, params.tolerance) if params.mask == "difference" else None
    drawn = classes(boxes, tested.shape, marked)
    sources = [(tested, drawn)] + ([(template, np.zeros_like(drawn))] if params.templates else [])
    size, step = params.crop, params.stride or params.crop
    for is_template, (pixels, kinds) in enumerate(sources):
        for y in range(0, pixels.shape[0] - size + 1, step):
            for x in range(0, pixels.shape[1] - size + 1, step):
                window = (slice(y, y + size), slice(x, x + size))
                yield pixels[window], kinds[window], (index, y, x, is_template)


def _one_size(pairs: list[Pair]) -> tuple[int, int]:
    """Height and width of all images, from their headers."""
    first = _size(pairs[0].template)
    if first[0] * first[1] > MAX_PIXELS:
        raise DataError(f"{pairs[0].template}: {first[1]} x {first[0]} is more than {MAX_PIXELS} pixels; cut it into parts")
    for path in (path for pair in pairs for path in (pair.template, pair.tested)):
        found = _size(path)
        if found != first:
            raise DataError(
                f"{path}: {found[1]} x {found[0]}, but '{pairs[0].template.name}' is {first[1]} x {first[0]}; all images must have one size"
            )
    return first


def _open(path: Path) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # MAX_PIXELS is the guard
        return Image.open(path, formats=("JPEG",))


def _size(path: Path) -> tuple[int, int]:
    try:
        with _open(path) as picture:
            if picture.mode in ("L", "RGB"):
                return picture.height, picture.width
            mode = picture.mode
    except Exception as error:
        raise DataError(f"{path}: cannot be read as a JPEG ({error}); replace it or remove the pair") from None
    raise DataError(f"{path}: holds {mode} pixels; DeepPCB is grey, stored with one channel or three")


def _decode(path: Path) -> Grey:
    """Grey levels uint8 [H,W]; colour becomes luma (ITU-R BT.601)."""
    try:
        with _open(path) as picture:
            return np.asarray(picture.convert("L"))
    except Exception as error:
        raise DataError(f"{path}: cannot be decoded ({error}); it may be cut short: replace it or remove the pair") from None
