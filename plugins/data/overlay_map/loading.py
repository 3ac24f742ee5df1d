"""From tables or files of measured wafers to a set: read, made into pixels, checked and written."""

from __future__ import annotations

import numpy as np

from fabloom.errors import DataError
from fabloom.method import Context
from fabloom.plugins.blocks.overlay.maps import OverlayMaps
from fabloom.plugins.blocks.overlay.raster import Fields

from .layouts import Layout, layout_of
from .params import LoadParams
from .reading import shown

PIXEL = 17
"""Bytes that a pixel of a set takes: two maps of two float32, and whether it is valid."""


def foreseen(params: LoadParams) -> Layout:
    """The layout of the folder with what is known without its maps. Raises DataError as `load` does before it reads one."""
    found = layout_of(params)
    count = len(found.roster.names)
    size = count * found.size**2 * PIXEL
    if size > params.max_mib << 20:
        told = f"{count:,} wafers of {found.size} x {found.size} pixels take {size / 2**20:,.0f} MiB"
        raise DataError(f"{params.path.path}: {told}, more than max_mib={params.max_mib}; lower size, or raise max_mib")
    return found


def load(ctx: Context, params: LoadParams) -> OverlayMaps:
    """Read all wafers and write them, in the order of the table of wafers or of their names."""
    found = foreseen(params)
    roster, plane = found.roster, (found.size, found.size)
    count = len(roster.names)
    with ctx.progress(found.kib, unit="KiB", name="read") as reading:
        raster, wafers = found.maps(reading.advance)
    values, previous = (np.zeros((count, 2, *plane), np.float32) for _ in range(2))
    valid = np.zeros((count, *plane), bool)
    with ctx.progress(count, unit="wafer", name="load") as bar:
        for row, (current, below, seen) in enumerate(wafers):
            if not seen.any():
                told = f"wafer '{shown(roster.names[row])}' has no pixel with a mark of both layers"
                raise DataError(f"{params.path.path}: {told}; look at its coordinates, or raise reach")
            values[row], previous[row], valid[row] = current, below, seen
            bar.advance()
    on = raster.valid.sum()
    ctx.log(f"{count:,} wafers; {valid.sum() / (count * on):.1%} of the pixels on a wafer hold overlay; fields of {_told(raster.fields)}")
    index, lots = roster.sources()
    return OverlayMaps.write_maps(
        ctx,
        values,
        previous=previous,
        valid=valid,
        logs=roster.logs,
        log_names=roster.log_names,
        log_units=roster.log_units,
        barcodes=roster.barcodes,
        raster=raster,
        source=index,
        source_names=lots,
    )


def _told(fields: Fields) -> str:
    return f"{fields.width:g} x {fields.height:g} mm about ({fields.x:g}, {fields.y:g})"
