"""From a file of maps to a set: which maps are taken, how they come to one size, and what is said of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError, Interrupted
from fabloom.kinds import ImageSet
from fabloom.kinds.origin import printable
from fabloom.method import Context

from . import converted, mixed
from .archive import Archive
from .collection import UNLABELLED, Collection
from .encoding import CHANNELS, ENCODING, encoded, nearest, padded
from .params import LoadParams
from .types import CODES, TYPES, types_of

CHUNK = 256
"""Maps that are written at a time."""


def opened(archive: Archive) -> Collection:
    """The maps of a file of either layout. Raises DataError for a file of another."""
    if archive.names >= mixed.ARRAYS:
        return mixed.Mixed(archive)
    if archive.names >= converted.ARRAYS:
        return converted.Converted(archive)
    raise DataError(
        f"{archive.path}: holds {', '.join(sorted(archive.names)[:8]) or 'nothing'}; wanted are arr_0 and arr_1 of MixedWM38, or what "
        "examples/wm811k_to_npz.py writes"
    )


def foreseen(params: LoadParams) -> int:
    """How many maps a set will have. Raises DataError as `load` does before it reads a die."""
    with Archive.opened(params.path.path, params.max_mib << 20) as archive:
        return len(chosen(opened(archive), params, 0, str(archive.path))[0])


def load(ctx: Context, params: LoadParams) -> ImageSet:
    """Choose, read and write the maps, in the order of the file."""
    with Archive.opened(params.path.path, params.max_mib << 20) as archive:
        maps = opened(archive)
        rows, large = chosen(maps, params, ctx.seed, str(archive.path))
        if large:
            ctx.log(f"left out as larger than size={params.size}: {large:,} of {large + len(rows):,} maps")
        labels = maps.labels[rows]
        attrs: dict[str, Any] = {"encoding": ENCODING, "fit": params.fit, "too_large": large, "counts": counts(labels)}
        written: dict[str, Any] = {}
        if params.labelled:
            types = types_of(tuple(CODES), maps.most)
            written = {"domain": (labels > 0).astype(np.int8), "labels": labels, "class_names": list(types)}
            attrs["patterns"] = {name: list(members) for name, members in types.items()}
        source: dict[str, int] = {}
        index = [source.setdefault(printable(name), len(source)) for name in maps.sources(rows, params.source)]
        return ImageSet.write(
            ctx,
            _batches(ctx, params, maps, rows, attrs),
            count=len(rows),
            channels=len(CHANNELS),
            source=np.array(index, np.int32),
            source_names=list(source),
            attrs=attrs,
            **written,
        )


def counts(labels: NDArray[np.int16]) -> dict[str, int]:
    """Maps of each class that occurs."""
    names = [*TYPES, "unlabelled"]  # of which the label is -1
    numbers, many = np.unique(labels, return_counts=True)
    return {names[number]: count for number, count in zip(numbers.tolist(), many.tolist(), strict=True)}


def chosen(maps: Collection, params: LoadParams, seed: int, path: str) -> tuple[NDArray[np.int64], int]:
    """(rows that are taken, rising; how many were too large). Raises DataError where none is left, or one does not fit."""
    fits = maps.part(params.split) & ((maps.labels != UNLABELLED) == params.labelled)
    if params.classes:
        fits &= np.isin(maps.labels, [list(TYPES).index(name) for name in params.classes])
    large = fits & (maps.shapes.max(1) > params.size) if params.fit == "pad" else np.zeros_like(fits)
    if large.any() and params.too_large == "refuse":
        raise DataError(
            f"{path}: {large.sum():,} maps have more than size={params.size} dies along a side, up to {maps.shapes[large].max()}; "
            "raise size, take fit: nearest, or leave them out with too_large: skip"
        )
    rows = np.flatnonzero(fits & ~large)
    if not len(rows):
        held = ", ".join(f"{count:,} {name}" for name, count in counts(maps.labels).items())
        raise DataError(f"{path}: no map is left of {held}; look at labelled, classes, split and size")
    rng = np.random.default_rng((seed, 0))
    if params.per_class is not None:
        rows = np.concatenate([_some(rng, rows[maps.labels[rows] == label], params.per_class) for label in np.unique(maps.labels[rows])])
    return np.sort(_some(rng, rows, params.count)), int(large.sum())


def _some(rng: np.random.Generator, rows: NDArray[np.int64], most: int | None) -> NDArray[np.int64]:
    return rows if most is None or len(rows) <= most else rng.choice(rows, most, replace=False)


def _batches(
    ctx: Context, params: LoadParams, maps: Collection, rows: NDArray[np.int64], attrs: dict[str, Any]
) -> Iterator[NDArray[np.uint8]]:
    """Images [B,2,size,size]; `attrs` learns at the end how many maps were repaired, which nobody knows before all are read."""
    fit = nearest if params.fit == "nearest" else padded
    held: list[NDArray[np.uint8]] = []
    with ctx.progress(len(rows), unit="map", name="load") as bar:
        for number, codes in enumerate(maps.read(rows)):
            if ctx.stop_requested():
                raise Interrupted(f"stopped after {number} of {len(rows)} maps. Run the same command again to start over.")
            held.append(encoded(fit(codes, params.size)))
            bar.advance()
            if len(held) == CHUNK:
                yield np.stack(held)
                held = []
    if held:
        yield np.stack(held)
    attrs["repaired"] = maps.repaired
    if maps.repaired:
        ctx.log(f"the illegal value 3, which stands for a fail, is read as one in {maps.repaired:,} of {len(rows):,} maps")
