"""Tables of strangers, CSV or Parquet, column by column in blocks: within bounds of size, rows and columns, and never unpickled."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice, repeat
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError, EnvironmentProblem
from fabloom.regular import open_regular, read_regular

BLOCK = 1 << 16
"""Rows of a table that are read at a time."""
CELLS = 1 << 21
"""Cells that are read at a time at most."""
LINE = 1 << 20
"""Characters of a line of CSV at most."""
ROWS, COLUMNS = 100_000_000, 4096
"""Rows and columns of a table at most."""
SUFFIXES = (".csv", ".parquet")
MAGIC = b"PAR1"
SEPARATORS = {";": "';'", "\t": "tabs"}
"""What other programs put between cells, and how that is called."""

Text = dict[str, list[str]]
Numbers = dict[str, NDArray[np.float64]]


class Table(Protocol):
    """A table: its file, the names of its columns, the number that people give its first row, and how much of it was read."""

    path: Path
    columns: list[str]
    first: int
    kib: int
    done: int

    def blocks(self, text: Sequence[str], numbers: Sequence[str]) -> Iterator[tuple[int, Text, Numbers]]:
        """(number of its first row, columns as text, columns as numbers) of each block; an empty cell is '' or NaN."""
        ...


def opened(path: Path, most: int) -> Table:
    """The table of a file of `most` bytes at most. Raises DataError for one that is larger, no table, or has no or too many columns."""
    magic = read_regular(path, len(MAGIC)) == MAGIC
    if magic != (path.suffix.lower() == ".parquet"):
        raise DataError(f"{path}: its name says {path.suffix[1:]}, its first bytes {'Parquet' if magic else 'something else'}; rename it")
    size = path.stat().st_size
    if size > most:
        raise DataError(f"{path}: is {size / 2**20:,.0f} MiB, more than max_mib={most >> 20}; raise max_mib if that is meant")
    table: Table = Parquet(path, most) if magic else Csv(path)
    if not 0 < len(table.columns) <= COLUMNS:
        raise DataError(f"{path}: has {len(table.columns)} columns; a table has 1 to {COLUMNS}")
    if len(table.columns) == 1 and (mark := next((mark for mark in SEPARATORS if mark in table.columns[0]), None)):
        raise DataError(f"{path}: its cells are separated by {SEPARATORS[mark]}; save it with commas between cells and points for decimals")
    twice = next((name for place, name in enumerate(table.columns) if name in table.columns[:place]), None)
    if twice is not None:
        raise DataError(f"{path}: two columns are called '{shown(twice)}'; rename or remove one")
    return table


class Csv:
    """Commas, points for decimals, a header, UTF-8. Rows are numbered as an editor does, the header being row 1."""

    first = 2

    def __init__(self, path: Path) -> None:
        self.path, self.kib, self.done, self._read = path, path.stat().st_size >> 10, 0, 0
        self.columns = [name.strip() for name in next(self._rows(), [])]

    def blocks(self, text: Sequence[str], numbers: Sequence[str]) -> Iterator[tuple[int, Text, Numbers]]:
        """See `Table`. Raises DataError, with the row, for one of another number of cells and for what is no number."""
        places = {name: place for place, name in enumerate(self.columns)}
        rows, at, some = islice(self._rows(), 1, None), self.first, block_of(len(self.columns))
        while taken := list(islice(rows, some)):
            self.done = self._read >> 10
            self._even(taken, at)
            cells = list(zip(*taken, strict=True))
            read = {name: _floats(cells[places[name]], self.path, name, at) for name in numbers}
            yield at, {name: [cell.strip() for cell in cells[places[name]]] for name in text}, read
            at += len(taken)
            if at > ROWS:
                raise DataError(f"{self.path}: has more than {ROWS:,} rows; split it")

    def _even(self, rows: list[list[str]], at: int) -> None:
        width = len(self.columns)
        odd = next((place for place, row in enumerate(rows) if len(row) != width), None)
        if odd is not None:
            raise DataError(f"{self.path}: row {at + odd} has {len(rows[odd])} cells, the header {width}; mend or remove it")

    def _rows(self) -> Iterator[list[str]]:
        """The rows; blank lines at the end are none."""
        blank = 0
        with open_regular(self.path) as file, io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as lines:
            try:
                for row in csv.reader(self._lines(lines), strict=True):
                    if not row:
                        blank += 1
                        continue
                    yield from repeat([], blank)  # in the middle they are rows without cells, which are refused
                    blank = 0
                    yield row
            except (csv.Error, UnicodeDecodeError) as error:
                raise DataError(f"{self.path}: is no CSV in UTF-8 that can be read ({error}); save it again as such") from None

    def _lines(self, file: io.TextIOWrapper) -> Iterator[str]:
        """Lines of bounded length: a file without a line end is not read whole."""
        self._read = 0
        while line := file.readline(LINE):
            if len(line) == LINE:
                raise csv.Error(f"a line of {LINE:,} characters or more")
            self._read += len(line)
            yield line


class Parquet:
    """A Parquet file. Rows are numbered from 1. Needs pyarrow: raises EnvironmentProblem where it is missing."""

    first = 1

    def __init__(self, path: Path, most: int) -> None:
        try:
            import pyarrow
            from pyarrow import parquet
        except ImportError:
            raise EnvironmentProblem(f"{path}: reading Parquet needs pyarrow: pip install 'fabloom[parquet]', or save it as CSV") from None
        self.path, self.kib, self.done, self._arrow = path, path.stat().st_size >> 10, 0, pyarrow
        self._file = self._sound(lambda: parquet.ParquetFile(path))
        head = self._file.metadata
        self.columns = list(self._file.schema_arrow.names)
        size = sum(head.row_group(group).total_byte_size for group in range(head.num_row_groups))
        if head.num_rows > ROWS or size > most:
            told = f"{head.num_rows:,} rows and {size / 2**20:,.0f} MiB when decompressed"
            raise DataError(f"{path}: says it has {told}, more than {ROWS:,} rows or max_mib={most >> 20}; split it or raise max_mib")

    def blocks(self, text: Sequence[str], numbers: Sequence[str]) -> Iterator[tuple[int, Text, Numbers]]:
        """See `Table`. Raises DataError for columns of another type than numbers, or names."""
        types = self._arrow.types
        for name in (*text, *numbers):
            kind = self._file.schema_arrow.field(name).type
            inner = kind.value_type if types.is_dictionary(kind) else kind
            whole, words = types.is_integer(inner), types.is_string(inner) or types.is_large_string(inner)
            fits = whole or words if name in text else whole or types.is_floating(inner) or types.is_decimal(inner) or types.is_null(inner)
            if not fits:
                wanted = "text or whole numbers" if name in text else "numbers"
                raise DataError(f"{self.path}: column {shown(name)} holds {kind}, where {wanted} are wanted; convert or leave it out")
        batches, at = self._file.iter_batches(block_of(len(self.columns)), columns=[*text, *numbers]), self.first
        while (batch := self._sound(lambda: next(batches, None))) is not None:
            words = {name: [cell or "" for cell in self._cast(batch.column(name), "string").to_pylist()] for name in text}
            found = {name: self._cast(batch.column(name), "float64").to_numpy(zero_copy_only=False) for name in numbers}
            self.done = self.kib * (at - self.first + batch.num_rows) // self._file.metadata.num_rows
            yield at, words, {name: column.astype(np.float64) for name, column in found.items()}
            at += batch.num_rows

    def _cast(self, column: Any, kind: str) -> Any:
        return self._sound(lambda: column.cast(kind, safe=kind == "string"))

    def _sound(self, read: Callable[[], Any]) -> Any:
        try:
            return read()
        except (self._arrow.ArrowException, OSError, UnicodeDecodeError) as error:
            raise DataError(f"{self.path}: damaged, or no Parquet file ({str(error)[:120]}); write it again") from None


def block_of(columns: int) -> int:
    """Rows of so many columns that are read at a time."""
    return max(1, min(BLOCK, CELLS // columns))


def shown(name: str) -> str:
    """A name out of data as it is put into messages."""
    return name[:60] if name.isprintable() else ascii(name[:60])


def wanted(table: Table, columns: Mapping[str, str]) -> None:
    """Raise DataError where a table lacks columns, given as they are called here and in the table."""
    missing = [told for told in columns.values() if told not in table.columns]
    if missing:
        held = ", ".join(map(shown, table.columns[:20])) + (" ..." if len(table.columns) > 20 else "")
        raise DataError(
            f"{table.path}: has no column {', '.join(missing)}; it has {held}. Rename columns, or say with `columns` what each is called"
        )


def listed(folder: Path, most: int = 1_000_000) -> list[str]:
    """Names in a folder, sorted. Raises DataError for more than can be meant."""
    names: list[str] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            names.append(entry.name)
            if len(names) > most:
                raise DataError(f"{folder}: holds more than {most:,} files; split it")
    return sorted(names)


def _floats(cells: Sequence[str], path: Path, column: str, at: int) -> NDArray[np.float64]:
    try:
        return np.array([float(cell) if cell else np.nan for cell in cells])
    except ValueError:
        pass
    found = np.empty(len(cells))
    for place, cell in enumerate(cells):
        try:
            found[place] = float(cell) if cell.strip() else np.nan
        except ValueError:
            told = shown(cell)
            raise DataError(f"{path}: row {at + place}, column {shown(column)} holds '{told}', which is no number (write 1.5)") from None
    return found
