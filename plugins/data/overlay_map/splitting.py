"""The task `split`: what is learned from and what is held out, by lot, reticle or tool."""

from __future__ import annotations

import numpy as np

from fabloom.errors import DataError
from fabloom.method import Context
from fabloom.plugins.blocks.overlay.maps import OverlayMaps
from fabloom.plugins.blocks.streams import rank

from .barcodes import field_of
from .params import FIELDS, SplitParams


def split(ctx: Context, params: SplitParams, maps: OverlayMaps) -> OverlayMaps:
    """Write one part of the set, its wafers in their order."""
    groups = groups_of(maps, params)
    names = sorted(set(groups))
    held = set(held_out(ctx.seed, params, names, maps.key))
    rows = np.flatnonzero([(group in held) == (params.part == "test") for group in groups])
    if maps.source is not None:
        used, index = np.unique(maps.source[...][rows], return_inverse=True)
        lots = [maps.source_names[lot] for lot in used]
    else:
        index, lots = np.arange(len(rows)), [f"row {row}" for row in rows]
    logs = np.where(maps.logged[...] == 1, maps.logs[...], np.float32(np.nan))[rows]
    codes = maps.barcodes
    chosen = sorted({groups[row] for row in rows})
    known = {name: None if array is None else array[...][rows] for name, array in (("truth", maps.truth), ("told", maps.told))}
    kept = {name: maps.attrs[name] for name in ("settings", "terms", "variance") if name in maps.attrs}
    return OverlayMaps.write_maps(
        ctx,
        maps.values[...][rows],
        previous=maps.previous[...][rows],
        valid=maps.valid[...][rows].astype(bool),
        logs=logs,
        log_names=maps.log_names,
        log_units=list(maps.attrs["log_units"]),
        barcodes=[codes[row] for row in rows],
        raster=maps.raster,
        truth=known["truth"],
        told=known["told"],
        attrs={**kept, "part": params.part, "parted_from": maps.key, "by": params.by, "groups": chosen},
        source=index.astype(np.int32),
        source_names=lots,
    )


def groups_of(maps: OverlayMaps, params: SplitParams) -> list[str]:
    """The group of each wafer. A tool is what stands before the chuck: T03 of T03-C2. Raises DataError where a barcode does not say it."""
    if params.by == "lot" and params.field is None and maps.source is not None:
        names = maps.source_names
        return [names[lot] for lot in maps.source[...]]
    number = FIELDS[params.by] if params.field is None else params.field
    found = []
    for row, code in enumerate(maps.barcodes):
        told = field_of(code, number)
        told = told and (told.partition("-")[0] if params.by == "tool" else told)
        if not told:
            raise DataError(
                f"set {maps.key[:12]}: field {number} of barcode {code} (wafer {row}, counted from 0) tells no {params.by}; say with "
                "`field` which one does"
            )
        found.append(told)
    return found


def held_out(seed: int, params: SplitParams, names: list[str], key: str) -> list[str]:
    """Groups that are held out: the first of an order that follows from the seed and their names alone, so that a new one moves few.

    Raises DataError where one group is all that there is.
    """
    if len(names) < 2:
        raise DataError(
            f"set {key[:12]} has wafers of one {params.by} alone, '{names[0]}': none is left to learn from once it is held out. Add "
            "wafers of others, or split by something else"
        )
    order = sorted(names, key=lambda name: rank(seed, name))
    return order[: min(max(round(params.share * len(names)), 1), len(names) - 1)]
