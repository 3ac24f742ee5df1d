"""Tiles of images and what is known of each: mask, domain, class, source."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds.masks import is_defect

from .entries import Entry, Scene

if TYPE_CHECKING:
    from .params import LoadParams


def tiles(array: NDArray[Any], tile: int | None, stride: int | None) -> NDArray[Any]:
    """[T,tile,tile,...] of an array [H,W,...], row by row; what does not fill a tile at the right and bottom is left out."""
    if tile is None:
        return array[None]
    step = stride or tile
    rows, columns = (range(0, length - tile + 1, step) for length in array.shape[:2])
    return np.stack([array[y : y + tile, x : x + tile] for y in rows for x in columns])


def cut(arrays: Sequence[NDArray[Any]], params: LoadParams) -> list[NDArray[Any]]:
    """The tiles of each array."""
    return [tiles(array, params.tile, params.stride) for array in arrays]


def origins(names: Sequence[str], images: Sequence[NDArray[Any]]) -> dict[str, Any]:
    """`source` and `source_names`: the file of each image, by its name relative to the folder; tiles share their file's."""
    return {"source": np.repeat(np.arange(len(names), dtype=np.int32), [len(one) for one in images]), "source_names": list(names)}


def stacked(
    scene: Scene, entries: Sequence[Entry], masks: Sequence[NDArray[np.uint8]] | None, counts: Sequence[int], params: LoadParams
) -> dict[str, Any]:
    """Columns of the set beside its pixels: masks, else domain where it is known of all, and labels with their class names."""
    columns: dict[str, Any] = {}
    if masks is not None:
        columns["masks"] = np.concatenate(cut(masks, params))
    else:
        columns["domain"] = _domain(entries, counts)
    if scene.classes:
        columns["class_names"] = list(scene.classes)
        columns["labels"] = _labels(scene, entries, counts, columns.get("masks"))
    return {name: value for name, value in columns.items() if value is not None}


def _domain(entries: Sequence[Entry], counts: Sequence[int]) -> NDArray[np.int8] | None:
    known = [entry.domain for entry in entries if entry.domain is not None]
    if not known:
        return None
    if len(known) < len(entries):
        name = next(entry.name for entry in entries if entry.domain is None)
        raise DataError(f"'{name}' is neither clean nor defect while other images are; extend the patterns `clean` and `defect`")
    return np.repeat(np.array(known, np.int8), counts)


def _labels(scene: Scene, entries: Sequence[Entry], counts: Sequence[int], masks: NDArray[np.uint8] | None) -> NDArray[np.int16] | None:
    """The class of each image; a tile without a marked pixel is clean. None where images have none."""
    index = {name: number for number, name in enumerate(scene.classes)}
    if any(entry.label is None for entry in entries):
        return None
    labels = np.repeat(np.array([index[entry.label or ""] for entry in entries], np.int16), counts)
    if masks is not None and scene.clean is not None:
        labels[~is_defect(masks).any((1, 2)) & ~(masks == 255).any((1, 2))] = 0
    return labels
