"""What is known of each wafer beside its maps: name, barcode, lot, and what the equipment logged."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds.origin import printable
from fabloom.plugins.blocks.overlay.maps import check_barcodes

from .barcodes import check_one_each, lots_of
from .reading import Table, shown, wanted

WAFERS = 1_000_000
"""Wafers of a set at most."""
CELLS = 1 << 27
"""Values of logs of a set at most."""
LOG = re.compile(r"(.*\S)\s*\[([^\[\]]*)\]")


@dataclass(frozen=True)
class Roster:
    """Wafers in their order; `logs` float32 [N,F] are NaN where nothing was logged."""

    names: list[str]
    barcodes: list[str]
    lots: list[str]
    logs: NDArray[np.float32]
    log_names: list[str]
    log_units: list[str]

    def sources(self) -> tuple[NDArray[np.int32], list[str]]:
        """`source` and `source_names` of the set: its lots in the order of their first wafers."""
        numbers: dict[str, int] = {}
        index = [numbers.setdefault(printable(lot), len(numbers)) for lot in self.lots]
        return np.array(index, np.int32), list(numbers)


def roster(
    where: str, names: Sequence[str], barcodes: Sequence[str], lots: Sequence[str], logs: Mapping[str, NDArray[np.float64]], lot_field: int
) -> Roster:
    """Wafers of whatever layout, checked: barcodes are raised to capitals, lots that are '' are those of the barcodes.

    Raises DataError that names `where`: no wafer, a name twice, a barcode that is none or of two wafers, no log, an infinite one.
    """
    if not 0 < len(names) <= WAFERS:
        raise DataError(f"{where}: holds {len(names):,} wafers; a set has 1 to {WAFERS:,}")
    seen: set[str] = set()
    for name in names:
        if not name or name in seen:
            raise DataError(f"{where}: wafer '{shown(name)}' is there twice, or has no name; give each wafer one row and a name of its own")
        seen.add(name)
    codes = [code.strip().upper() for code in barcodes]
    try:
        check_barcodes(codes, len(names))
    except DataError as error:
        raise DataError(f"{where}: {error} (wafers are counted from 0)") from None
    check_one_each(codes, names, lot_field, where)
    if not logs:
        raise DataError(f"{where}: has no log of the equipment; give at least one column of numbers, such as 'dose [mJ/cm2]'")
    units = [LOG.fullmatch(name) for name in logs]
    told = [(found[1], found[2].strip()) if found else (name.strip(), "") for name, found in zip(logs, units, strict=True)]
    for name, column in logs.items():
        wrong = np.flatnonzero(np.isinf(column) | (np.abs(column) > np.finfo(np.float32).max))
        if len(wrong):
            raise DataError(f"{where}: log {shown(name)} of wafer '{shown(names[wrong[0]])}' is {column[wrong[0]]}; leave it empty instead")
    names_of_logs = [name for name, _ in told]
    if len(set(names_of_logs)) < len(told) or not all(name and name.isprintable() and len(name) <= 200 for name in names_of_logs):
        raise DataError(f"{where}: logs need names of 1 to 200 printable characters, each its own; they are {shown(', '.join(logs))} ...")
    own = lots_of(codes, lot_field)
    return Roster(
        list(names),
        codes,
        [lot or other for lot, other in zip(lots, own, strict=True)],
        np.stack(list(logs.values()), 1).astype(np.float32),
        names_of_logs,
        [unit[:64] for _, unit in told],
    )


def check_left_out(where: str, leave_out: Sequence[str], names: Collection[str]) -> None:
    """Raise DataError for a name to leave out that is not there: a misspelt one would be learned from."""
    for name in leave_out:
        if name not in names:
            raise DataError(f"{where}: has no '{shown(name)}' to leave out; it has {shown(', '.join(names))}")


def read_roster(table: Table, columns: Mapping[str, str], leave_out: Sequence[str], lot_field: int) -> Roster:
    """The table of wafers: every column that is no name and not left out is a log. Raises DataError as `roster`."""
    wafer, barcode, lot = (columns.get(name, name) for name in ("wafer", "barcode", "lot"))
    wanted(table, {"wafer": wafer, "barcode": barcode})
    text = list(dict.fromkeys([wafer, barcode, *([lot] if lot in table.columns else [])]))  # one column may be two of them
    check_left_out(str(table.path), leave_out, table.columns)
    numbers = [name for name in table.columns if name not in text and name not in leave_out]
    words: dict[str, list[str]] = {name: [] for name in text}
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in numbers}
    for _, block, values in table.blocks(text, numbers):
        for name in text:
            words[name] += block[name]
        for name in numbers:
            found[name].append(values[name])
        if len(words[wafer]) > WAFERS or len(words[wafer]) * len(numbers) > CELLS:
            raise DataError(
                f"{table.path}: has more than {WAFERS:,} wafers, or {CELLS:,} values of logs; split it, or name logs to leave_out"
            )
    logs = {name: np.concatenate(parts) for name, parts in found.items() if parts}
    lots = words.get(lot, [""] * len(words[wafer]))
    return roster(str(table.path), words[wafer], words[barcode], lots, logs, lot_field)
