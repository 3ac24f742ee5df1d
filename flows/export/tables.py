"""Tables of findings: CSV for everybody, Parquet for who reads many of them."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from fabloom.errors import EnvironmentProblem, UserError

GROUP = 50_000
"""Rows of a Parquet file that are written at once."""
KINDS = ("csv", "parquet")


class Table(Protocol):
    """A file that rows are added to."""

    def add(self, row: Mapping[str, Any]) -> None: ...


def check(kind: str) -> None:
    """Raise UserError for a kind of table that is not known, EnvironmentProblem where its library is missing."""
    if kind not in KINDS:
        raise UserError(f"--table: '{kind}' is not known; take {' or '.join(KINDS)}")
    if kind == "parquet" and importlib.util.find_spec("pyarrow") is None:
        raise EnvironmentProblem("--table parquet needs pyarrow: pip install 'fabloom[parquet]'")


@contextmanager
def opened(path: Path, columns: Mapping[str, type]) -> Iterator[Table]:
    """A new table of these columns, str, int or float; its kind is the suffix of the path. None is an empty cell, or null."""
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as lines:
            yield Csv(csv.DictWriter(lines, list(columns)))
    else:
        with parquet(path, columns) as table:
            yield table


class Csv:
    """A CSV file with a header."""

    def __init__(self, writer: csv.DictWriter[str]) -> None:
        self.writer = writer
        writer.writeheader()

    def add(self, row: Mapping[str, Any]) -> None:
        """Write a line."""
        self.writer.writerow(row)


class Parquet:
    """A Parquet file, in groups of rows."""

    def __init__(self, writer: Any, schema: Any) -> None:
        self.writer, self.schema = writer, schema
        self.held: list[Mapping[str, Any]] = []

    def add(self, row: Mapping[str, Any]) -> None:
        """Keep a row, and write a group where one is full."""
        self.held.append(dict(row))
        if len(self.held) >= GROUP:
            self.flush()

    def flush(self) -> None:
        """Write what is kept."""
        import pyarrow

        self.writer.write_table(pyarrow.Table.from_pylist(self.held, schema=self.schema))
        self.held = []


@contextmanager
def parquet(path: Path, columns: Mapping[str, type]) -> Iterator[Parquet]:
    """A new Parquet file; one without rows has its columns all the same."""
    import pyarrow
    from pyarrow import parquet as files

    types = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
    schema = pyarrow.schema([(name, types[kind]) for name, kind in columns.items()])
    with files.ParquetWriter(path, schema) as writer:
        table = Parquet(writer, schema)
        yield table
        table.flush()


def read(path: Path, column: str) -> list[Any]:
    """A column of a table that was written."""
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as lines:
            return [row[column] for row in csv.DictReader(lines)]
    from pyarrow import parquet as files

    found: list[Any] = files.read_table(path, columns=[column])[column].to_pylist()
    return found
