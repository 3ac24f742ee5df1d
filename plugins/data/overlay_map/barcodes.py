"""Fields of barcodes such as T03-C2|R0417A|L07|LOT4K29|W12: who exposed a wafer with what, and of which lot it is."""

from __future__ import annotations

from collections.abc import Sequence

from fabloom.errors import DataError

SEPARATOR = "|"


def field_of(barcode: str, number: int) -> str | None:
    """The field of this number, counted from 1; None where a barcode has fewer, or nothing there."""
    fields = barcode.split(SEPARATOR)
    return fields[number - 1] or None if number <= len(fields) else None


def lots_of(barcodes: Sequence[str], number: int) -> list[str]:
    """The lot of each: that field, or the whole barcode where it has none, so that wafers of equal barcodes stay together."""
    return [field_of(barcode, number) or barcode for barcode in barcodes]


def check_one_each(barcodes: Sequence[str], names: Sequence[str], number: int, where: str) -> None:
    """Raise DataError where two wafers have one barcode that goes on behind the lot, and so names a wafer."""
    first: dict[str, str] = {}
    for barcode, name in zip(barcodes, names, strict=True):
        other = first.setdefault(barcode, name)
        if other != name and field_of(barcode, number + 1):
            raise DataError(
                f"{where}: wafers '{other}' and '{name}' both have the barcode {barcode}, which names one wafer (field {number + 1}); "
                "mend one of them, or say with lot_field where the lot stands"
            )
