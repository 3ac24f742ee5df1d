"""Overlay maps as tables that metrology and spreadsheets read: measured ones, which `overlay-map.load` reads again, and ensembles."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .fitting import fitted
from .terms import TERMS

if TYPE_CHECKING:
    from .ensembles import OverlayEnsembles
    from .maps import OverlayMaps
    from .raster import Raster

MARKS = ("wafer", "field", "X", "Y", "x", "y", "dx", "dy", "dx_previous", "dy_previous")
"""Columns of overlay.csv: X, Y, x, y in mm, displacements in nm."""
FORETOLD = ("wafer", "barcode", "field", "X", "Y", "x", "y", "dx", "dy", "deviation_dx", "deviation_dy", "sigma_dx", "sigma_dy")
"""Columns of maps.csv."""


def write_tables(maps: OverlayMaps, folder: Path) -> None:
    """`overlay.csv`, a mark at the middle of each valid pixel, and `wafers.csv`: wafer, barcode, lot, and logs as `name [unit]`.

    Wafers are numbered from 0. Nine digits tell a float32 exactly; an empty cell was not logged.
    """
    heads = _heads(maps.raster)
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


def _heads(raster: Raster) -> list[str]:
    """Of each pixel its field, X, Y, x and y as cells."""
    places = raster.places
    column, row = raster.fields.numbers(places.X, places.Y)
    corner = [f"{c:d}/{r:d}" for c, r in zip(column.ravel().tolist(), row.ravel().tolist(), strict=True)]
    numbers = zip(*(axis.ravel().tolist() for axis in (places.X, places.Y, places.x, places.y)), strict=True)
    return [f"{name},{','.join(map(repr, place))}" for name, place in zip(corner, numbers, strict=True)]


def write_foretold(drawn: OverlayEnsembles, folder: Path) -> None:
    """`maps.csv`, a row a valid pixel: the mean of a wafer's members, their deviation, and the predicted sigma; and `wafers.csv`, a row a
    wafer: barcode, lot, |mean| + 3 sigma along each axis as the members have it on average (their mean map, being smooth, has less), and
    each term with its deviation over the members.

    Wafers are numbered as in the set that they were drawn for; a single member has no deviation, and its cells are empty.
    """
    heads, lots = _heads(drawn.raster), drawn.by_wafer("source")[:, 0]
    with (
        (folder / "maps.csv").open("w", newline="", encoding="utf-8") as maps,
        (folder / "wafers.csv").open("w", newline="", encoding="utf-8") as wafers,
    ):
        maps.write(",".join(FORETOLD) + "\n")
        lines = csv.writer(wafers, lineterminator="\n")
        named = [cell for term in TERMS for cell in (titled(term.name, term.unit), f"{term.name} deviation")]
        lines.writerow(("wafer", "barcode", "lot", "x |mean| + 3 sigma [nm]", "y |mean| + 3 sigma [nm]", *named))
        at_once = max(1, drawn.BLOCK // drawn.members)  # as they are stored: a wafer alone would unpack its block
        for start in range(0, drawn.wafers, at_once):
            rows = slice(start, start + at_once)
            members, sigma = drawn.by_wafer(wafers=rows), drawn.by_wafer("sigma", rows).astype(np.float32).mean(1)
            valid = drawn.by_wafer("valid", rows)[:, 0].astype(bool)
            mean, deviation = members.mean(1), _deviation(members)
            terms = fitted(drawn.raster, members.reshape(-1, *members.shape[2:]), valid.repeat(drawn.members, 0))
            terms = terms.reshape(len(members), drawn.members, -1)
            both = np.stack([terms.mean(1), _deviation(terms)], -1).reshape(len(members), -1)
            for wafer, seen in enumerate(valid):
                pixels = np.flatnonzero(seen)
                six = np.concatenate([mean[wafer], deviation[wafer], sigma[wafer]]).reshape(6, -1)[:, pixels]
                for pixel, *cells in zip(pixels.tolist(), *six.tolist(), strict=True):
                    maps.write(f"{start + wafer},{drawn.barcodes[start + wafer]},{heads[pixel]},{','.join(map(_cell, cells))}\n")
                along = members[wafer][:, :, seen]
                worst = (np.abs(along.mean(-1)) + 3 * along.std(-1)).mean(0).tolist()
                told = (drawn.barcodes[start + wafer], drawn.source_names[lots[start + wafer]])
                lines.writerow((start + wafer, *told, *map(_cell, [*worst, *both[wafer].tolist()])))


def _deviation(members: NDArray[np.floating]) -> NDArray[np.floating]:
    """Over the second axis; NaN of a single one."""
    return members.std(1, ddof=1) if members.shape[1] > 1 else np.full_like(members[:, 0], np.nan)


def _cell(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"


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
