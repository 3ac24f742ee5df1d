"""Overlay mark by mark, as metrology writes it, and the grid of exposure fields that the coordinates of its marks tell."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.plugins.blocks.overlay.raster import Fields
from fabloom.plugins.blocks.overlay.terms import HEIGHT, RADIUS, WIDTH

from .reading import Table, shown, wanted

Real = NDArray[np.float64]
PLACES = {"X": RADIUS + 0.5, "Y": RADIUS + 0.5, "x": WIDTH + 0.5, "y": HEIGHT + 0.5}
"""Largest coordinate of a mark in mm: of a 300 mm wafer, and of the largest field of a scanner."""
LARGEST, LEAST = 1000.0, 0.05
"""nm. A larger displacement is none of a process that works; where all are below the least, the unit is another."""
MANY = 10
"""Marks of a wafer at least that tell its unit."""
CLOSE = 0.05
"""mm by which centres of one field may differ."""
SMALLEST = 1.0
"""mm: side of a field at least."""
NAMES = 100_000
"""Different names of fields at most."""
NUMBERS = "probably they are in another unit: coordinates are wanted in mm and displacements in nm"


@dataclass(frozen=True)
class Marks:
    """Marks in the order of their table: number of the wafer and of the field, X, Y, x, y in mm, displacements [C,M] in nm."""

    table: Table
    wafers: list[str]
    wafer: NDArray[np.int32]
    fields: list[str]
    field: NDArray[np.int32]
    X: Real
    Y: Real
    x: Real
    y: Real
    values: Real

    def row(self, mark: int) -> str:
        """Where a mark stands, for messages."""
        return f"{self.table.path}: row {self.table.first + mark} (wafer '{shown(self.wafers[self.wafer[mark]])}')"


def check_columns(table: Table, columns: Mapping[str, str], channels: Sequence[str]) -> dict[str, str]:
    """What the columns of marks are called in a table. Raises DataError where it lacks one."""
    told = {name: columns.get(name, name) for name in ("wafer", "field", *PLACES, *channels)}
    wanted(table, told)
    return told


def read_marks(table: Table, columns: Mapping[str, str], channels: Sequence[str], advance: Callable[[int], None]) -> Marks:
    """All marks of a table; `advance` is told the KiB that were read since, and may raise.

    Raises DataError, with row and column, for what is missing, NaN, off a 300 mm wafer or its field, or larger than 1000 nm, and for
    displacements of a column that all are below 0.05 nm, of all wafers or of one.
    """
    told = check_columns(table, columns, channels)
    text = [told["wafer"], told["field"]]
    numbers = [*PLACES, *channels]
    wafers: dict[str, int] = {}
    fields: dict[str, int] = {}
    index: list[tuple[NDArray[np.int32], NDArray[np.int32]]] = []
    found: list[Real] = []
    before = 0
    for at, words, block in table.blocks(text, [told[name] for name in numbers]):
        read = np.stack([block[told[name]] for name in numbers])
        for name, column in zip(numbers, read, strict=True):
            _check(table, at, told[name], column, PLACES.get(name, LARGEST))
        if "" in words[text[0]]:
            raise DataError(f"{table.path}: row {at + words[text[0]].index('')}, column {text[0]} is empty; name the wafer")
        pair = (_numbered(words[text[0]], wafers), _numbered(words[text[1]], fields))
        if len(fields) > NAMES:
            raise DataError(f"{table.path}: column {text[1]} names more than {NAMES:,} fields; name each field alike on all wafers")
        index.append(pair)
        found.append(read)
        advance(table.done - before)
        before = table.done
    if not found:
        raise DataError(f"{table.path}: has no marks under its header; nothing was measured?")
    kept = np.concatenate(found, 1)
    wafer, field = (np.concatenate(parts) for parts in zip(*index, strict=True))
    _check_unit(table, [told[name] for name in channels], kept[4:], wafer, list(wafers))
    X, Y, x, y = kept[:4]
    return Marks(table, list(wafers), wafer, list(fields), field, X, Y, x, y, kept[4:])


def _check_unit(table: Table, names: Sequence[str], values: Real, wafer: NDArray[np.int32], wafers: Sequence[str]) -> None:
    """Raise DataError for a column whose displacements are all below what anybody can measure, of the whole table or of one wafer.

    Tables are joined of exports in several units. A wafer with few marks may lie that still; zeros stand for what was not measured.
    """
    for name, column in zip(names, np.abs(values), strict=True):
        if 0 < (most := float(column.max())) < LEAST:
            raise DataError(
                f"{table.path}: no displacement in column {name} is larger than {most:g} nm, which nobody can measure; {NUMBERS}"
            )
        largest = np.zeros(len(wafers))
        np.maximum.at(largest, wafer, column)
        still = (largest > 0) & (largest < LEAST) & (np.bincount(wafer, minlength=len(wafers)) >= MANY)
        if still.any():
            first = int(still.argmax())
            raise DataError(
                f"{table.path}: no displacement of wafer '{shown(wafers[first])}' in column {name} is larger than {largest[first]:g} nm, "
                f"which nobody can measure, though those of others are ({int(still.sum())} of {len(wafers)} wafers are so); {NUMBERS}"
            )


def _numbered(words: list[str], seen: dict[str, int]) -> NDArray[np.int32]:
    """The number of each word, new ones in the order in which they come."""
    return np.array([seen.setdefault(word, len(seen)) for word in words], np.int32)


def _check(table: Table, at: int, column: str, values: Real, largest: float) -> None:
    wrong = np.flatnonzero(~(np.abs(values) <= largest))  # NaN compares as False
    if not len(wrong):
        return
    value, where = values[wrong[0]], f"{table.path}: row {at + wrong[0]}, column {column}"
    if np.isnan(value):
        raise DataError(f"{where} is empty or NaN; leave out marks that were not measured")
    unit = "nm" if largest == LARGEST else "mm"
    raise DataError(f"{where} is {value:g}, beyond the {largest:g} {unit} that overlay on a 300 mm wafer has at most; {NUMBERS}")


def grid_of(marks: Marks, width: float | None, height: float | None, x: float | None, y: float | None) -> Fields:
    """The grid of fields: what is given of it, the rest from the centres X - x, Y - y of the fields.

    Found sides and offsets are rounded to 1e-6 mm, offsets lie within half a field of the wafer's centre. Raises DataError where centres
    of one field, or all of them, contradict each other, where one row or column of fields tells no side, and for a mark off its field.
    """
    centres = [marks.X - marks.x, marks.Y - marks.y]
    for axis, centre in zip("XY", centres, strict=True):
        _agree(marks, axis, centre)
    sides, offsets = [], []
    given = ((width, x, 2 * WIDTH, "field_width"), (height, y, 2 * HEIGHT, "field_height"))
    for axis, centre, (told, start, largest, name) in zip("XY", centres, given, strict=True):
        side = _side(marks, axis, centre, largest, name) if told is None else told
        offset = _offset(centre, side) if start is None else start
        away = np.abs((centre - offset) / side - np.rint((centre - offset) / side)) * side
        worst = int(away.argmax())
        if away[worst] > CLOSE:
            raise DataError(
                f"{marks.row(worst)}: its field has its centre at {axis} - {axis.lower()} = {centre[worst]:.4f} mm, {away[worst]:.4f} mm "
                f"off a grid of {side:g} mm with an offset of {offset:g}; look at the coordinates, or give {name} and field_{axis.lower()}"
            )
        sides.append(side)
        offsets.append(offset)
    for small, side, name in ((marks.x, sides[0], "field_width"), (marks.y, sides[1], "field_height")):
        worst = int(np.abs(small).argmax())
        if abs(small[worst]) > side / 2 + 0.5:
            raise DataError(
                f"{marks.row(worst)}: lies {abs(small[worst]):g} mm from the centre of its field, whose neighbour begins at {side / 2:g}; "
                f"rows of fields that are shifted are not read. Give {name} if {side:g} mm is wrong"
            )
    return Fields(sides[0], sides[1], offsets[0], offsets[1])


def _agree(marks: Marks, axis: str, centre: Real) -> None:
    """Raise DataError where marks of one field have several centres."""
    first = np.full(len(marks.fields), len(centre))
    np.minimum.at(first, marks.field, np.arange(len(centre)))
    away = np.abs(centre - centre[first[marks.field]])
    worst = int(away.argmax())
    if away[worst] > CLOSE:
        other = int(first[marks.field[worst]])
        raise DataError(
            f"{marks.row(worst)}: field '{shown(marks.fields[marks.field[worst]])}' has its centre at {axis} - {axis.lower()} = "
            f"{centre[worst]:.4f} mm, and at {centre[other]:.4f} in row {marks.table.first + other}; a field has one place on all wafers"
        )


def _side(marks: Marks, axis: str, centre: Real, largest: float, name: str) -> float:
    """Distance of neighbouring fields: the greatest that divides all distances of centres, which may leave fields out."""
    places = np.sort(centre)
    places = places[np.concatenate([[True], np.diff(places) > 2 * CLOSE])]
    if len(places) < 2:
        raise DataError(f"{marks.table.path}: all fields have one centre along {axis}, which tells no side; give {name}")
    side = 0.0
    for gap in np.diff(places).tolist():
        a, b = max(gap, side), min(gap, side)
        while b > SMALLEST / 2:
            a, b = b, abs(a - b * round(a / b))
        side = a
    steps = np.rint((places - places[0]) / side)
    side = round(float(np.polyfit(steps, places, 1)[0]), 6)
    if not SMALLEST <= side <= largest + 2 * CLOSE:
        raise DataError(
            f"{marks.table.path}: centres of fields along {axis} are {side:g} mm apart, and a field has {SMALLEST:g} to {largest:g} mm; "
            f"give {name} if not every field was measured, else look at {axis} and {axis.lower()}"
        )
    return side


def _offset(centre: Real, side: float) -> float:
    """Centre nearest to that of the wafer, of two the one that is positive."""
    start = float(centre[0])
    rest = (centre - start) - side * np.rint((centre - start) / side)
    offset = start + float(rest.mean())
    offset = round(offset - side * round(offset / side), 6)
    return (side / 2 if abs(offset + side / 2) < 1e-6 else offset) + 0.0
