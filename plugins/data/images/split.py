"""The task `split`: what is learned from and what is held out, by source.

Images of one file, files that are equal and, where their names tell it, files of one lot are never on both sides: a score on a tile whose
neighbour was trained on is memory.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds import ImageSet
from fabloom.kinds.origin import row_origins
from fabloom.method import Context
from fabloom.plugins.blocks.columns import columns, grey_attrs
from fabloom.plugins.blocks.sources import groups, joined
from fabloom.plugins.blocks.streams import rank
from fabloom.plugins.blocks.truth import label_attrs

from .lots import lot_of
from .parts import SplitParams


def split(ctx: Context, params: SplitParams, images: ImageSet) -> ImageSet:
    """Write one part of the set, its images in their order."""
    parts = groups(images)
    if params.lot is not None:
        parts = joined(parts, lots(images, params.lot))
    defective, names = described(images, parts)
    held = held_out(ctx.seed, params.share, defective, names, images.key)
    chosen = held if params.part == "test" else ~held
    if params.defects is not None:
        chosen &= ~defective | np.isin(np.arange(len(chosen)), order(ctx.seed, chosen & defective, names)[: params.defects])
    rows = np.flatnonzero(chosen[parts])
    attrs = {"part": params.part, "parted_from": images.key, "sources": int(chosen.sum()), **grey_attrs(images), **label_attrs(images)}
    written = columns(images, rows)
    written = written if "source" in written else written | row_origins(rows)
    pixels = np.asarray(images.images[...])[rows]
    return ImageSet.write(ctx, pixels, channels=pixels.shape[1], attrs=attrs, **written)


def lots(images: ImageSet, pattern: str) -> NDArray[np.int32]:
    """A number [N] for each lot, as the names of the sources tell. Raises DataError for a set without names."""
    origins = images.origins()
    if not origins:
        raise DataError(f"set {images.key[:12]} has no names of sources, which lot={pattern!r} is to be found in; leave out lot")
    told = [lot_of(pattern, origins["source_names"][row]) for row in origins["source"]]
    return np.unique(told, return_inverse=True)[1].astype(np.int32)


def described(images: ImageSet, parts: NDArray[np.int64]) -> tuple[NDArray[np.bool_], list[str]]:
    """(whether it has a defect, name) of each group. Groups of a set without domain count as clean."""
    domain = np.zeros(len(parts), bool) if images.domain is None else np.asarray(images.domain[...]) == 1
    origins = images.origins() or row_origins(np.arange(len(parts)))
    defective = np.zeros(int(parts.max()) + 1, bool)
    np.logical_or.at(defective, parts, domain)
    _, first = np.unique(parts, return_index=True)
    return defective, [origins["source_names"][origins["source"][row]] for row in first]


def held_out(seed: int, share: float, defective: NDArray[np.bool_], names: list[str], key: str) -> NDArray[np.bool_]:
    """Which groups are held out: `share` of the clean and of the defective ones, rounded, at least one of each and never all.

    Raises DataError where one source is all that there is of its sort.
    """
    held = np.zeros(len(defective), bool)
    for sort, members in (("clean", ~defective), ("defect", defective)):
        count = int(members.sum())
        if count == 1 and (sort == "defect" or not defective.any()):
            raise DataError(
                f"set {key[:12]} has one {sort} source, '{names[int(members.argmax())]}': none is left to learn from once it is held out. "
                "Add images, or score on a folder of others"
            )
        if count > 1:
            held[order(seed, members, names)[: min(max(round(share * count), 1), count - 1)]] = True
    return held


def order(seed: int, members: NDArray[np.bool_], names: list[str]) -> list[int]:
    """The members in an order that follows from the seed and their names alone, so that a new file moves few others."""
    return sorted(np.flatnonzero(members).tolist(), key=lambda index: rank(seed, names[index]))
