"""KLARF, the defect list that review stations and yield systems read, in its flat dialect 1.2 and its nested dialect 1.8.

The file says where on a wafer defects are. Images know no wafer, so each is taken for a die of its own unless a table says which die, and
where in it, an image shows. Positions are those of a defect's centre, from the lower left corner of its die, x to the right and y up;
1.2 has them in micrometres, 1.8 in whole nanometres, areas in their squares. What nobody said is a placeholder (`Sheet`).
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from fabloom.errors import UserError

VERSIONS = ("1.2", "1.8")
SAMPLE_MM = 300
"""Diameter of the wafer that is assumed."""


@dataclass(frozen=True)
class Die:
    """The die that an image shows: its indices, and where in it the lower left corner of the image lies, in nanometres."""

    x: int
    y: int
    left_nm: float = 0.0
    bottom_nm: float = 0.0


@dataclass(frozen=True)
class Sheet:
    """What images cannot know. `dies` says for files which die they show; `pitch_*_nm` 0 is the size of an image."""

    version: str
    pixel_nm: float
    lot: str = "LOT"
    wafer: str = "WAFER"
    device: str = "DEVICE"
    setup: str = "fabloom"
    step: str = "STEP"
    station: str = "FABLOOM"
    slot: int = 1
    pitch_x_nm: float = 0.0
    pitch_y_nm: float = 0.0
    dies: Mapping[str, Die] = field(default_factory=dict)

    def with_fields(self, given: Sequence[str]) -> Sheet:
        """With values of the form NAME=VALUE. Raises UserError for a name that there is not and a value that does not fit."""
        own = [one.name for one in fields(self) if one.name not in ("version", "pixel_nm", "dies")]
        known: dict[str, Any] = {name: getattr(self, name) for name in own}
        changes: dict[str, Any] = {}
        for text in given:
            name, mark, value = text.partition("=")
            if not mark or name not in known:
                raise UserError(f"--klarf-field: '{text}' is not NAME=VALUE with a NAME of {', '.join(known)}")
            try:
                changes[name] = type(known[name])(value)
                if not isinstance(changes[name], str) and not 0 < changes[name] < math.inf:
                    raise ValueError
            except ValueError:
                kind = "whole number" if name == "slot" else "number"
                raise UserError(f"--klarf-field: '{value}' is no positive {kind} for {name}") from None
        return replace(self, **changes)


def read_dies(path: Path) -> dict[str, Die]:
    """The dies of a CSV file with the columns file, x, y and perhaps left_nm, bottom_nm. Raises UserError where it is none."""
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.DictReader(lines))
        return {
            row["file"]: Die(int(row["x"]), int(row["y"]), float(row.get("left_nm") or 0), float(row.get("bottom_nm") or 0)) for row in rows
        }  # fmt: skip
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"--klarf-dies: '{path}' cannot be read: {error}") from error
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"--klarf-dies: '{path}' needs columns file, x, y (whole numbers) and perhaps left_nm, bottom_nm: {error}"
        ) from error


DEFECT_COLUMNS = {
    "DEFECTID": "int32", "XREL": "nm", "YREL": "nm", "XINDEX": "int32", "YINDEX": "int32", "XSIZE": "nm", "YSIZE": "nm",
    "DEFECTAREA": "nm2", "DSIZE": "nm", "CLASSNUMBER": "int32", "TEST": "int32", "CLUSTERNUMBER": "int32", "ROUGHBINNUMBER": "int32",
    "FINEBINNUMBER": "int32", "IMAGECOUNT": "int32",
}  # fmt: skip
"""Columns of the defect list, with what their values are."""
SUMMARY_COLUMNS = {"TESTNO": "int32", "NDEFECT": "int32", "DEFDENSITY": "float", "NDIE": "int32", "NDEFDIE": "int32"}


class Klarf:
    """A defect list that grows image by image, and is written at the end."""

    def __init__(self, sheet: Sheet, classes: Sequence[str], images: int, shape: tuple[int, int], created: str) -> None:
        self.sheet, self.shape, self.created = sheet, shape, created
        self.classes = ["Unclassified", *classes]
        self.columns = max(1, math.ceil(math.sqrt(images)))
        self.dies: list[Die] = []
        self.rows: list[list[float]] = []

    @property
    def pitch(self) -> tuple[float, float]:
        """Of the dies, in nanometres."""
        height, width = (length * self.sheet.pixel_nm for length in self.shape)
        return self.sheet.pitch_x_nm or width, self.sheet.pitch_y_nm or height

    def image(self, file: str) -> Die:
        """The die of the next image: that of the table, else the next of a square of dies. Raises UserError for one that is not in it."""
        at = len(self.dies)
        if self.sheet.dies and file not in self.sheet.dies:
            raise UserError(f"--klarf-dies says nothing of '{file}'; name every image, or leave the table out")
        self.dies.append(self.sheet.dies.get(file) or Die(at % self.columns, at // self.columns))
        return self.dies[-1]

    def defect(self, box: Sequence[int], area: int, number: int) -> None:
        """Add a defect of the last image: its box (x, y of the upper left pixel, width, height), pixels, and class number from 1."""
        die, nm = self.dies[-1], self.sheet.pixel_nm
        x, y, width, height = box
        across, up = die.left_nm + (x + width / 2) * nm, die.bottom_nm + (self.shape[0] - y - height / 2) * nm
        sizes = width * nm, height * nm
        row = [len(self.rows) + 1, across, up, die.x, die.y, *sizes, area * nm * nm, max(sizes), number, 1, 0, 0, 0, 0]
        self.rows.append(row)

    def write(self, path: Path) -> None:
        """Write the file."""
        text = flat(self) if self.sheet.version == "1.2" else nested(self)
        path.write_text(text, encoding="ascii", newline="\n")

    def summary(self) -> list[float]:
        """The line of the summary: test, defects, defects a square centimetre, dies, dies with defects."""
        defect_dies = len({(row[3], row[4]) for row in self.rows})
        return [1, len(self.rows), len(self.rows) / (self.area / 1e14), len(set(self.tested)), defect_dies]

    @property
    def area(self) -> float:
        """Square nanometres that were looked at."""
        return len(self.dies) * math.prod(self.shape) * self.sheet.pixel_nm**2

    @property
    def tested(self) -> list[tuple[int, int]]:
        """The dies, each once."""
        return list(dict.fromkeys((die.x, die.y) for die in self.dies))

    @property
    def when(self) -> tuple[str, str]:
        """Date and time of the result, UTC: that of the artifact, so that equal artifacts give equal files."""
        found = re.match(r"(\d{4})-(\d\d)-(\d\d)T(\d\d:\d\d:\d\d)", self.created)
        year, month, day, time = found.groups() if found else ("1970", "01", "01", "00:00:00")
        return f"{month}-{day}-{year}", time


def plain(text: str) -> str:
    """Text as both dialects take it between quotes: printable ASCII without their marks."""
    return re.sub(r"[^ !#-&(-+\--:<-z|~]", "_", text) or "_"


def flat(klarf: Klarf) -> str:
    """The dialect 1.2: statements that end with a semicolon; micrometres."""
    sheet, (date, time) = klarf.sheet, klarf.when
    pitch = " ".join(f"{value / 1e3:.10e}" for value in klarf.pitch)
    lines = [
        "FileVersion 1 2;", f"FileTimestamp {date} {time};", f'InspectionStationID "fabloom" "unet" "{plain(sheet.station)}";',
        "SampleType WAFER;", f"ResultTimestamp {date} {time};", f'LotID "{plain(sheet.lot)}";', f"SampleSize 1 {SAMPLE_MM};",
        f'DeviceID "{plain(sheet.device)}";', f'SetupID "{plain(sheet.setup)}" {date} {time};', f'StepID "{plain(sheet.step)}";',
        "SampleOrientationMarkType NOTCH;", "OrientationMarkLocation DOWN;", f"DiePitch {pitch};",
        "DieOrigin 0.0000000000e+00 0.0000000000e+00;", f'WaferID "{plain(sheet.wafer)}";', f"Slot {sheet.slot};",
        "SampleCenterLocation 0.0000000000e+00 0.0000000000e+00;", f"ClassLookup {len(klarf.classes)}",
        *closed(f' {number} "{plain(name)}"' for number, name in enumerate(klarf.classes)),
        "InspectionTest 1;", f"SampleTestPlan {len(klarf.tested)}", *closed(f" {x} {y}" for x, y in klarf.tested),
        f"AreaPerTest {klarf.area / 1e6:.10e};", f"DefectRecordSpec {len(DEFECT_COLUMNS)} {' '.join(DEFECT_COLUMNS)} ;", "DefectList",
    ]  # fmt: skip
    kinds = DEFECT_COLUMNS.values()
    lines += closed(" " + " ".join(micrometres(value, kind) for value, kind in zip(row, kinds, strict=True)) for row in klarf.rows)
    lines += [f"SummarySpec {len(SUMMARY_COLUMNS)} {' '.join(SUMMARY_COLUMNS)} ;", "SummaryList"]
    lines += closed([" " + " ".join(micrometres(v, k) for v, k in zip(klarf.summary(), SUMMARY_COLUMNS.values(), strict=True))])
    return "\n".join([*lines, "EndOfFile;", ""])


def closed(rows: Any) -> list[str]:
    """Rows of a list, the last with the semicolon that ends it; a semicolon alone where there are none."""
    found = list(rows)
    return [*found[:-1], f"{found[-1]};"] if found else [";"]


def micrometres(value: float, kind: str) -> str:
    """A number of the flat dialect."""
    if kind == "int32":
        return str(int(value))
    return f"{value / {'nm': 1e3, 'nm2': 1e6}.get(kind, 1):.10e}"


def nanometres(value: float, kind: str) -> str:
    """A number of the nested dialect."""
    return f"{value:.10e}" if kind in ("float", "nm2") else str(round(value))


def nested(klarf: Klarf) -> str:
    """The dialect 1.8: records in braces; nanometres."""
    sheet, when = klarf.sheet, [quoted(part) for part in klarf.when]
    pitch = [str(round(value)) for value in klarf.pitch]
    classes = listed(
        "ClassLookupList", {"CLASSNUMBER": "int32", "CLASSNAME": "string"}, [[str(n), quoted(name)] for n, name in enumerate(klarf.classes)]
    )
    dies = listed("SampleTestPlanList", {"XINDEX": "int32", "YINDEX": "int32"}, [[str(x), str(y)] for x, y in klarf.tested])
    kinds, counts = list(DEFECT_COLUMNS.values()), list(SUMMARY_COLUMNS.values())
    defects = [[nanometres(value, kind) for value, kind in zip(row, kinds, strict=True)] for row in klarf.rows]
    summary = [nanometres(value, kind) for value, kind in zip(klarf.summary(), counts, strict=True)]
    types = {name: {"nm": "int32", "nm2": "float"}.get(kind, kind) for name, kind in DEFECT_COLUMNS.items()}
    wafer = [
        field_of("DieOrigin", ["0", "0"]), field_of("SampleCenterLocation", ["0", "0"]), field_of("SlotNumber", [str(sheet.slot)]),
        *listed("DefectList", types, defects),
        *record("TestRecord", "1", [field_of("AreaPerTest", [f"{klarf.area:.10e}"]), *dies]),
        *record("SummaryRecord", None, listed("TestSummaryList", SUMMARY_COLUMNS, [summary])),
    ]  # fmt: skip
    lot = [
        field_of("DeviceID", [quoted(sheet.device)]), field_of("DiePitch", pitch),
        field_of("InspectionStationID", ['"fabloom"', '"unet"', quoted(sheet.station)]), field_of("OrientationMarkLocation", ["0"]),
        field_of("RecipeID", [quoted(sheet.setup), *when]), field_of("ResultTimestamp", when),
        field_of("SampleOrientationMarkType", ['"NOTCH"']), field_of("SampleSize", [str(SAMPLE_MM * 10**6), "0"]),
        field_of("SampleType", ['"WAFER"']), field_of("StepID", [quoted(sheet.step)]), *classes,
        *record("WaferRecord", sheet.wafer, wafer),
    ]  # fmt: skip
    whole = record("FileRecord", "1.8", [field_of("FileTimestamp", when), *record("LotRecord", sheet.lot, lot)])
    return "\n".join([*whole, "EndOfFile;", ""])


def quoted(text: str) -> str:
    """Text between quotes."""
    return f'"{plain(text)}"'


def field_of(name: str, values: Sequence[str]) -> str:
    """A field with its values."""
    return f"Field {name} {len(values)} {{{', '.join(values)}}}"


def record(kind: str, name: str | None, lines: Sequence[str]) -> list[str]:
    """A record around lines."""
    return [f"Record {kind}" + ("" if name is None else f" {quoted(name)}"), "{", *(f"  {line}" for line in lines), "}"]


def listed(name: str, columns: Mapping[str, str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A list with its columns and rows."""
    head = ", ".join(f"{kind} {column}" for column, kind in columns.items())
    data = [f"Data {len(rows)}", "{", *(f"  {' '.join(row)};" for row in rows), "}"]
    return [f"List {name}", "{", f"  Columns {len(columns)} {{ {head} }}", *(f"  {line}" for line in data), "}"]
