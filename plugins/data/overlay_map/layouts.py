"""Which layout a folder has, by what its files hold, and its wafers one after the other whichever it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.plugins.blocks.overlay.raster import Fields, Raster

from .marks import Marks, check_columns, grid_of, read_marks
from .params import TABLE_SIZE, LoadParams
from .rastering import Rasteriser
from .reading import SUFFIXES, Table, listed, opened, shown
from .roster import Roster, read_roster
from .seed_files import Files, maps_of, roster_of, side_of, wafers_in

Maps = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]
"""current [2,H,W] and previous [2,H,W] in nm, and where both were measured [H,W]."""
Advance = Callable[[int], None]
CURRENT, BELOW = ("dx", "dy"), ("dx_previous", "dy_previous")


class Layout(Protocol):
    """What both layouts say before maps are read, and how they are read."""

    @property
    def roster(self) -> Roster:
        """Its wafers."""
        ...

    @property
    def size(self) -> int:
        """Pixels across a wafer."""
        ...

    @property
    def kib(self) -> int:
        """Of the tables that are read before the first map is made."""
        ...

    def maps(self, advance: Advance) -> tuple[Raster, Iterator[Maps]]:
        """The raster, and the maps of each wafer of the roster; `advance` is told the KiB of tables that were read, and may raise."""
        ...


@dataclass(frozen=True)
class Tables:
    """A table of marks, one of wafers, and perhaps one of marks of the layer below."""

    params: LoadParams
    roster: Roster
    marks: Table
    previous: Table | None

    @property
    def size(self) -> int:
        """Pixels across the wafer."""
        return self.params.size or TABLE_SIZE

    @property
    def kib(self) -> int:
        """Of the tables of marks."""
        return self.marks.kib + (self.previous.kib if self.previous is not None else 0)

    def maps(self, advance: Advance) -> tuple[Raster, Iterator[Maps]]:
        """Read all marks, then make the maps of one wafer after the other."""
        columns = self.params.columns
        channels = CURRENT if self.previous is not None else (*CURRENT, *BELOW)
        tables = [read_marks(self.marks, columns, channels, advance)]
        if self.previous is not None:
            tables.append(read_marks(self.previous, columns, CURRENT, advance))
        for marks in tables:
            self._same_wafers(marks)
        rasters = [self._raster(marks) for marks in tables]
        made = [Rasteriser(marks, raster, self.params.reach) for marks, raster in zip(tables, rasters, strict=True)]
        return rasters[0], (self._wafer(made, name) for name in self.roster.names)

    def _wafer(self, made: list[Rasteriser], name: str) -> Maps:
        found = [one.of(name) for one in made]
        values = np.concatenate([one for one, _ in found])
        return values[:2], values[2:], np.logical_and.reduce([valid for _, valid in found])

    def _raster(self, marks: Marks) -> Raster:
        params = self.params
        return Raster(self.size, grid_of(marks, params.field_width, params.field_height, params.field_x, params.field_y))

    def _same_wafers(self, marks: Marks) -> None:
        listed_ones, measured = set(self.roster.names), set(marks.wafers)
        unknown = next((name for name in marks.wafers if name not in listed_ones), None)
        if unknown is not None:
            raise DataError(
                f"{marks.table.path}: wafer '{shown(unknown)}' is not in the table of wafers; add it there, or remove its marks"
            )
        bare = next((name for name in self.roster.names if name not in measured), None)
        if bare is not None:
            raise DataError(
                f"{marks.table.path}: wafer '{shown(bare)}' of the table of wafers has no marks; measure it, or remove it there"
            )


@dataclass(frozen=True)
class Separate:
    """Files of each wafer, whose maps are pixels already."""

    params: LoadParams
    root: Path
    files: list[Files]
    roster: Roster
    size: int
    fields: Fields = field(default_factory=Fields)
    kib: int = 0

    def maps(self, advance: Advance) -> tuple[Raster, Iterator[Maps]]:
        """Read the maps of one wafer after the other; what is off the wafer is not valid."""
        raster = Raster(self.size, self.fields)
        return raster, (self._wafer(one, raster) for one in self.files)

    def _wafer(self, one: Files, raster: Raster) -> Maps:
        current, previous, valid = maps_of(self.root, one, self.size)
        return current, previous, valid & raster.valid


def layout_of(params: LoadParams) -> Layout:
    """The layout of the folder. Reads heads of tables, and logs and barcodes, but no maps. Raises DataError that says what was found."""
    root = params.path.path
    if not root.is_dir():
        raise DataError(
            f"{root}: is one file; give the folder that holds a table of marks and one of wafers (wafer, barcode, logs), both are needed"
        )
    wafers, names = wafers_in(root), [name for name in listed(root) if name.lower().endswith(SUFFIXES)]
    if wafers and names:
        raise DataError(f"{root}: holds both overlay_prev.png and the table '{shown(names[0])}'; keep one layout")
    if wafers:
        return _separate(params, root, wafers)
    if not names:
        held = ", ".join(map(shown, listed(root)[:8])) or "nothing"
        raise DataError(
            f"{root}: holds {held}; wanted are tables (.csv or .parquet) of marks and of wafers, or overlay_prev.png for each wafer"
        )
    return _tables(params, root, names)


def _tables(params: LoadParams, root: Path, names: list[str]) -> Tables:
    most = params.max_mib << 20
    if len(names) > 3:
        raise DataError(
            f"{root}: holds {len(names)} tables, '{shown(names[0])}' and others; "
            "wanted are one of marks, one of wafers, perhaps one of the layer below"
        )
    tables = [opened(root / name, most) for name in names]
    told = [params.columns.get(name, name) for name in (*CURRENT, "X", "Y")]
    marks = [table for table in tables if set(told) <= set(table.columns)]
    wafers = [table for table in tables if table not in marks and params.columns.get("barcode", "barcode") in table.columns]
    below = [table for table in marks if "previous" in table.path.stem.lower()]
    above = [table for table in marks if table not in below]
    if len(above) != 1 or len(wafers) != 1 or len(below) > 1 or len(tables) > len(marks) + 1:
        held = "; ".join(f"'{shown(table.path.name)}' has {', '.join(map(shown, table.columns[:10]))}" for table in tables)
        raise DataError(
            f"{root}: {held}. Wanted are one table of marks ({', '.join(told)} ...), one of wafers (wafer, barcode, logs), and where "
            f"the first has no {' and '.join(BELOW)}, one of marks with 'previous' in its name. "
            "Rename columns, or say with `columns` what each is called"
        )
    inside = [params.columns.get(name, name) for name in BELOW]
    if bool(below) == (set(inside) <= set(above[0].columns)):
        said = "both" if below else "nowhere"
        raise DataError(
            f"{root}: overlay of the layer below is told {said}: by {' and '.join(inside)} of '{above[0].path.name}', or by a table "
            "of marks with 'previous' in its name; give it once"
        )
    check_columns(above[0], params.columns, CURRENT if below else (*CURRENT, *BELOW))
    for table in below:
        check_columns(table, params.columns, CURRENT)
    roster = read_roster(wafers[0], params.columns, params.leave_out, params.lot_field)
    return Tables(params, roster, above[0], below[0] if below else None)


def _separate(params: LoadParams, root: Path, wafers: list[Files]) -> Separate:
    roster = roster_of(root, wafers, params.leave_out, params.lot_field)
    size = side_of(wafers[0])
    if params.size not in (None, size):
        raise DataError(f"{root}: its maps have {size} pixels across, not size={params.size}; leave size out")
    standard = Fields()
    given = (params.field_width, params.field_height, params.field_x, params.field_y)
    kept = (standard.width, standard.height, standard.x, standard.y)
    return Separate(params, root, wafers, roster, size, Fields(*(b if a is None else a for a, b in zip(given, kept, strict=True))))
