"""Lots by the names of files: what was made together must not lie on both sides of a split."""

from __future__ import annotations

import re
from collections.abc import Iterable

from fabloom.errors import DataError


def checked(pattern: str | None) -> None:
    """Raise ValueError for what is no regular expression, or has several groups."""
    if pattern is not None:
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"lot={pattern!r} is no regular expression: {error}") from None
        if groups > 1:
            raise ValueError(f"lot={pattern!r} has {groups} groups; put one pair of brackets around what names the lot, or none")


def lot_of(pattern: str, name: str) -> str:
    """The lot that a file name tells: what the group of the pattern matches, or all of it. Raises DataError where it matches nothing."""
    last = name.rpartition("/")[2]
    found = re.search(pattern, last)
    lot = found and found[found.re.groups]
    if not lot:
        raise DataError(f"'{name}': lot={pattern!r} finds no lot in '{last}'; mend the pattern or rename the file")
    return lot


def apart(pattern: str, sides: Iterable[tuple[str, Iterable[str]]]) -> None:
    """Raise DataError where files of one lot lie on two sides, (side, names of its files) each."""
    seen: dict[str, tuple[str, str]] = {}
    for side, names in sides:
        for name in names:
            lot = lot_of(pattern, name)
            other, first = seen.setdefault(lot, (side, name))
            if other != side:
                raise DataError(f"lot '{lot}' is in {other} ('{first}') and in {side} ('{name}'): move all files of a lot to one side")
