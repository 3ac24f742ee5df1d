"""Overlay maps as tables that metrology and spreadsheets read, and `overlay-map.load` reads again."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .maps import OverlayMaps

MARKS = ("wafer", "field", "X", "Y", "x", "y", "dx", "dy", "dx_previous", "dy_previous")
"""Columns of overlay.csv: X, Y, x, y in mm, displacements in nm."""


def write_tables(maps: OverlayMaps, folder: Path) -> None:
    """`overlay.csv`, a mark at the middle of each valid pixel, and `wafers.csv`: wafer, barcode, lot, and logs as `name [unit]`.

    Wafers are numbered from 0. Nine digits tell a float32 exactly; an empty cell was not logged.
    """
    raster = maps.raster
    places = raster.places
    column, row = raster.fields.numbers(places.X, places.Y)
    corner = [f"{c:d}/{r:d}" for c, r in zip(column.ravel().tolist(), row.ravel().tolist(), strict=True)]
    numbers = zip(*(axis.ravel().tolist() for axis in (places.X, places.Y, places.x, places.y)), strict=True)
    heads = [f"{name},{','.join(map(repr, place))}" for name, place in zip(corner, numbers, strict=True)]
    with (folder / "overlay.csv").open("w", newline="", encoding="utf-8") as file:
        file.write(",".join(MARKS) + "\n")
        for start in range(0, len(maps), maps.BLOCK):  # as they are stored: a wafer alone would unpack its block
            rows = slice(start, start + maps.BLOCK)
            both = np.concatenate([maps.values[rows], maps.previous[rows]], 1)
            for wafer, (valid, four) in enumerate(zip(maps.valid[rows], both, strict=True), start):
                seen = np.flatnonzero(valid)
                marks = zip(seen.tolist(), *four.reshape(4, -1)[:, seen].tolist(), strict=True)
                file.writelines(f"{wafer},{heads[pixel]},{a:.9g},{b:.9g},{c:.9g},{d:.9g}\n" for pixel, a, b, c, d in marks)
    _write_wafers(maps, folder / "wafers.csv")


def _write_wafers(maps: OverlayMaps, path: Path) -> None:
    lots = [""] * len(maps) if maps.source is None else [maps.source_names[lot] for lot in maps.source[...]]
    heads = [titled(name, unit) for name, unit in zip(maps.log_names, maps.attrs["log_units"], strict=True)]
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow(("wafer", "barcode", "lot", *heads))
        for wafer, (code, lot, values, logged) in enumerate(zip(maps.barcodes, lots, maps.logs[...], maps.logged[...], strict=True)):
            cells = [f"{value:.9g}" if known else "" for value, known in zip(values.tolist(), logged, strict=True)]
            lines.writerow((wafer, code, lot, *cells))


def titled(name: str, unit: str) -> str:
    """A log as the head of its column: `dose [mJ/cm2]`, or its name alone where nobody said the unit."""
    return name if not unit and not name.endswith("]") else f"{name} [{unit}]"
