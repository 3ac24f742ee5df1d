"""KLARF as we write it, in both dialects, read by another library in a process of its own, and held against what was found."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fabloom.errors import UserError
from fabloom.flows.export.klarf import Die, Klarf, Sheet, plain, read_dies
from fabloom.plugins.data.images.annotations.klarf import read_klarf

READ = """
import json, sys
from klarfio import klarfio
found = {path: klarfio.klarf(path).data for path in sys.argv[1:]}
json.dump(found, open("read.json", "w"))
"""
SHAPE, PIXEL = (40, 60), 12.5
DEFECTS = {"a.png": [([10, 0, 4, 6], 20, 1)], "b.png": [], "c.png": [([0, 36, 2, 4], 8, 2), ([59, 39, 1, 1], 1, 1)]}
"""File: (box of x, y, width and height, pixels, class)."""


def made(sheet: Sheet, created: str = "2026-03-09T04:05:06Z") -> Klarf:
    """A list of the defects above."""
    klarf = Klarf(sheet, ["bridge", "open"], len(DEFECTS), SHAPE, created)
    for file, defects in DEFECTS.items():
        klarf.image(file)
        for box, area, number in defects:
            klarf.defect(box, area, number)
    return klarf


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Both dialects as klarfio reads them, in nanometres: the defects by column, and the whole."""
    folder = tmp_path_factory.mktemp("klarf")
    for version in ("1.2", "1.8"):
        made(Sheet(version, PIXEL, lot="L7", wafer="W3", slot=9)).write(folder / version)
    done = subprocess.run([sys.executable, "-c", READ, "1.2", "1.8"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads((folder / "read.json").read_text())
    flat = found["1.2"]["FileRecord_1.2"] if "FileRecord_1.2" in found["1.2"] else found["1.2"]
    nested = found["1.8"]["FileRecord_1.8"]["LotRecord_L7"]
    return {"1.2": flat, "1.8": nested, "file": found["1.8"]["FileRecord_1.8"]}


def rows(table: dict[str, Any], nm: float) -> list[dict[str, float]]:
    """The rows of a list as klarfio holds it, lengths in nanometres."""
    names = [column["Column"] for column in table["Columns"]]
    powers = {"XREL": 1, "YREL": 1, "XSIZE": 1, "YSIZE": 1, "DSIZE": 1, "DEFECTAREA": 2}
    return [{name: value * nm ** powers.get(name, 0) for name, value in zip(names, row, strict=True)} for row in table["Data"]]


def test_another_library_reads_back_what_was_found(read: dict[str, Any]) -> None:
    """Positions are written down by hand: from the lower left corner of the image, y up, to the centre of the box."""
    centres = [(12.0, 40 - 3.0), (1.0, 40 - 38.0), (59.5, 40 - 39.5)]
    for version, table, nm in (("1.2", read["1.2"]["DefectList"], 1e3), ("1.8", read["1.8"]["WaferRecord_W3"]["DefectList"], 1.0)):
        found = rows(table, nm)
        boxes = [(box, area, number) for defects in DEFECTS.values() for box, area, number in defects]
        assert [row["DEFECTID"] for row in found] == [1, 2, 3], version
        for row, (x, y), (box, area, number) in zip(found, centres, boxes, strict=True):
            assert (row["XREL"], row["YREL"]) == pytest.approx((x * PIXEL, y * PIXEL), abs=0.51), version
            assert (row["XSIZE"], row["YSIZE"]) == pytest.approx((box[2] * PIXEL, box[3] * PIXEL), abs=0.51)
            assert row["DEFECTAREA"] == pytest.approx(area * PIXEL**2) and row["CLASSNUMBER"] == number
        assert [(row["XINDEX"], row["YINDEX"]) for row in found] == [(0, 0), (0, 1), (0, 1)], "three images on a square of two"


def test_another_library_reads_the_head(read: dict[str, Any]) -> None:
    flat, nested = read["1.2"], read["1.8"]
    assert flat["LotID"] == ['"L7"'] and flat["WaferID"] == ['"W3"'] and flat["Slot"] == [9] and flat["SampleSize"] == [1, 300]
    assert [1e3 * value for value in flat["DiePitch"]] == nested["DiePitch"] == [60 * PIXEL, 40 * PIXEL]
    assert nested["WaferRecord_W3"]["SlotNumber"] == [9] and nested["SampleSize"] == [300_000_000, 0]
    assert flat["ResultTimestamp"] == ["03-09-2026", "04:05:06"] and read["file"]["FileTimestamp"] == ["03-09-2026", "04:05:06"]
    assert nested["ClassLookupList"]["Data"] == [[0, "Unclassified"], [1, "bridge"], [2, "open"]]
    assert nested["WaferRecord_W3"]["TestRecord_1"]["SampleTestPlanList"]["Data"] == [[0, 0], [1, 0], [0, 1]]
    summary = nested["WaferRecord_W3"]["SummaryRecord"]["TestSummaryList"]["Data"][0]
    square_cm = 3 * SHAPE[0] * SHAPE[1] * (PIXEL * 1e-7) ** 2
    assert summary == [1, 3, pytest.approx(3 / square_cm), 3, 2]


@pytest.mark.parametrize("version", ["1.2", "1.8"])
def test_what_is_written_is_what_images_load_reads(version: str, tmp_path: Path) -> None:
    klarf = made(Sheet(version, PIXEL))
    klarf.write(tmp_path / "list")
    found = read_klarf(tmp_path / "list")
    nm = 1e3 if version == "1.2" else 1
    assert found.version == version and found.classes == {0: "Unclassified", 1: "bridge", 2: "open"}
    assert len(found.defects) == len(klarf.rows) == 3
    for one, row in zip(found.defects, klarf.rows, strict=True):
        told = [float(one.values[name]) * nm for name in ("XREL", "YREL", "XSIZE")]
        assert told == pytest.approx([row[1], row[2], row[5]], abs=0.51) and int(one.values["CLASSNUMBER"]) == row[9]


def test_dies_come_from_a_table(tmp_path: Path) -> None:
    (tmp_path / "dies.csv").write_text("file,x,y,left_nm,bottom_nm\na.png,-2,5,1000,0\nb.png,-1,5,,\nc.png,-2,5,0,2000\n")
    klarf = made(Sheet("1.8", PIXEL, dies=read_dies(tmp_path / "dies.csv")).with_fields(["pitch_x_nm=5000", "lot=A=B"]))
    assert [row[3:5] for row in klarf.rows] == [[-2, 5]] * 3 and klarf.tested == [(-2, 5), (-1, 5)]
    assert klarf.rows[0][1] == 1000 + 12 * PIXEL and klarf.rows[1][2] == 2000 + 2 * PIXEL
    assert klarf.pitch == (5000, 40 * PIXEL) and klarf.sheet.lot == "A=B"
    with pytest.raises(UserError, match=r"nothing of 'd.png'"):
        klarf.image("d.png")
    for text in ("file,x\na.png,1\n", "file,x,y\na.png,one,2\n"):
        (tmp_path / "odd.csv").write_text(text)
        with pytest.raises(UserError, match="--klarf-dies"):
            read_dies(tmp_path / "odd.csv")


def test_fields_that_there_are_not_are_refused() -> None:
    for given in ("lot", "lott=1", "version=1.2", "slot=one", "slot=-1", "pitch_x_nm=wide", "pitch_x_nm=nan"):
        with pytest.raises(UserError, match="--klarf-field"):
            Sheet("1.2", PIXEL).with_fields([given])


def test_no_text_breaks_out_of_its_quotes(tmp_path: Path) -> None:
    assert plain('Ünder"cut; {a}\n') == "_nder_cut_ _a__" and plain("") == "_" and plain("bridge 2 (top)") == "bridge 2 (top)"
    for version in ("1.2", "1.8"):
        klarf = Klarf(Sheet(version, 1.0, lot='a"; EndOfFile;'), ['x"\n;'], 1, (8, 8), "")
        klarf.image("clean.png")
        klarf.write(tmp_path / version)
        text = (tmp_path / version).read_text()
        assert text.count("EndOfFile;") == 1 and text.count('"') % 2 == 0 and "01-01-1970" in text


def test_a_die_is_where_a_person_would_look_for_it() -> None:
    klarf = Klarf(Sheet("1.2", 1.0), ["defect"], 5, (8, 8), "")
    assert [klarf.image(str(n)) for n in range(5)] == [Die(0, 0), Die(1, 0), Die(2, 0), Die(0, 1), Die(1, 1)]
