"""Overlay maps: the truth of simulated ones, measured ones read from tables and files, refused, split, and written as tables."""

from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from fabloom.errors import DataError, EnvironmentProblem, Interrupted, PipelineError
from fabloom.pipeline import Pipeline
from fabloom.planning.plan import make_plan
from fabloom.plugins.blocks.overlay.fitting import drawn, fitted, residue
from fabloom.plugins.blocks.overlay.maps import OverlayMaps
from fabloom.plugins.blocks.overlay.raster import Fields, Raster
from fabloom.plugins.blocks.overlay.terms import NAMES, SIZES
from fabloom.plugins.data.overlay_map import loading
from fabloom.plugins.data.overlay_map.layouts import layout_of
from fabloom.plugins.data.overlay_map.method import OverlayMap
from fabloom.plugins.data.overlay_map.params import LoadParams, SimulateParams
from fabloom.plugins.data.overlay_map.simulating import wafers
from fabloom.registry import Registry
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import MemoryStore, write_artifact

Made = Callable[..., OverlayMaps]


@pytest.fixture(scope="module")
def store(kept: LocalStore) -> LocalStore:
    return kept


@pytest.fixture
def make(run_task: Any) -> Made:
    """`make("load", path, size=16)`: the committed set."""

    def run(task: str, path: Path | None = None, *, seed: int = 0, maps: OverlayMaps | None = None, **params: Any) -> OverlayMaps:
        given = params if path is None else {"path": str(path), **params}
        found = run_task(OverlayMap, task, given, seed=seed, **({} if maps is None else {"maps": maps}))
        assert isinstance(found, OverlayMaps)
        return found

    return run


# simulated


def by_hand(term: Mapping[str, float], X: float, Y: float) -> tuple[float, float]:
    """(dx, dy) in nm at a place of fields of 26 x 33 mm, of some terms, written out."""
    x, y, get = (X + 13) % 26 - 13, (Y + 16.5) % 33 - 16.5, lambda name: term.get(name, 0.0)
    up = 1 if (round((X - x) / 26) + round((Y - y) / 33)) % 2 == 0 else -1
    rho = np.hypot(X, Y)
    edge = get("edge_roll_off") * np.exp((rho - 150) / 6) / rho
    dx = get("translation_x") + get("scaling_x") * X - (get("rotation") + get("non_orthogonality")) * Y + get("dx_XY2") * X * Y**2
    dx += (get("magnification") + get("asymmetric_magnification")) * x - (get("field_rotation") + get("skew")) * y + get("dx_x3") * x**3
    dy = get("translation_y") + get("scaling_y") * Y + get("rotation") * X + get("dy_X2") * X**2 + get("dy_xy") * x * y
    dy += (get("magnification") - get("asymmetric_magnification")) * y + (get("field_rotation") - get("skew")) * x + up * get("scan_y")
    return dx + edge * X, dy + edge * Y


def test_maps_are_the_sum_of_their_terms() -> None:
    raster = Raster(16)
    names = "translation_x translation_y scaling_x scaling_y rotation non_orthogonality dx_XY2 dy_X2 magnification asymmetric_magnification"
    chosen = [*names.split(), "field_rotation", "skew", "dx_x3", "dy_xy", "scan_y", "edge_roll_off"]
    term = dict(
        zip(chosen, np.random.default_rng(0).normal(0, 1, len(chosen)) * SIZES[[NAMES.index(name) for name in chosen]], strict=True)
    )
    theta = np.array([[term.get(name, 0.0) for name in NAMES]])
    wanted = [[by_hand(term, (j + 0.5) * 18.75 - 150, 150 - (i + 0.5) * 18.75) for j in range(16)] for i in range(16)]
    np.testing.assert_allclose(drawn(raster, theta)[0], np.moveaxis(wanted, -1, 0), atol=1e-9)


def test_least_squares_gives_the_terms_back(make: Made) -> None:
    maps = make("simulate", count=6, size=24, seed=3, residue=0, noise=0)
    assert maps.truth is not None
    theta, raster = maps.truth[...].astype(np.float64), Raster(24)
    found = fitted(raster, drawn(raster, theta), np.broadcast_to(raster.valid, (6, 24, 24)))
    assert np.abs((found - theta) / SIZES).max() < 1e-6
    again = fitted(maps.raster, maps.values[...], maps.valid[...].astype(bool))
    assert np.abs((again - theta) / SIZES).max() < 1e-4  # float32
    noisy = make("simulate", count=6, size=24, seed=3)
    assert np.abs((fitted(noisy.raster, noisy.values[...], noisy.valid[...].astype(bool)) - theta) / SIZES).max() > 0.05


def test_the_variance_comes_from_where_it_is_said_to(make: Made) -> None:
    told = make("simulate", count=1000, size=16, wafers_per_lot=1).attrs["variance"]
    params = SimulateParams(count=1000, size=16, wafers_per_lot=1)
    raster = Raster(16)
    parts = {
        name: float((drawn(raster, part * SIZES)[:, :, raster.valid]).var(0).mean())
        for name, part in wafers(params, 0, range(1000)).parts.items()
    }
    parts["previous"] += 0.25 * 0.36
    parts["chance"] += 0.25 * 0.64 + 0.0625
    for name, share in {"previous": 0.35, "logs": 0.35, "barcode": 0.15, "chance": 0.15}.items():
        assert parts[name] / sum(parts.values()) == pytest.approx(told[name], abs=0.02)  # other wafers of the same fab
        assert told[name] == pytest.approx(share, abs=0.05)


def test_a_wafer_follows_from_its_number_and_not_from_the_count(make: Made) -> None:
    few, many = (make("simulate", count=count, size=16, wafers_per_lot=7) for count in (20, 300))
    for name in ("values", "previous", "logs", "logged", "barcodes", "truth", "told", "source"):
        assert np.array_equal(few.array(name)[...], many.array(name)[:20]), name
    assert not np.array_equal(few.values[...], make("simulate", count=20, size=16, wafers_per_lot=7, seed=1).values[...])


def foretold(maps: OverlayMaps) -> dict[str, float]:
    """Share of the variance of the terms that each source tells of the last third of wafers, learned from the others."""
    assert maps.truth is not None
    theta = maps.truth[...] / SIZES
    theta = theta - theta.mean(0)
    logs = np.where(maps.logged[...] == 1, maps.logs[...], np.nan)
    logs = np.nan_to_num((logs - np.nanmedian(logs, 0)) / np.nanstd(logs, 0))
    codes = np.array([code.split("|")[:2] for code in maps.barcodes])
    who = np.concatenate([codes[:, [k]] == np.unique(codes[:, k]) for k in (0, 1)], 1).astype(float)
    below = fitted(maps.raster, maps.previous[...], maps.valid[...].astype(bool)) / SIZES
    found, cut = {}, len(theta) * 2 // 3
    for name, given in (("logs", np.clip(logs, -3, 3)), ("barcode", who - who.mean(0))):
        weights = np.linalg.solve(given[:cut].T @ given[:cut] + 5 * np.eye(given.shape[1]), given[:cut].T @ theta[:cut])
        found[name] = 1 - np.square(theta[cut:] - given[cut:] @ weights).sum() / np.square(theta[cut:]).sum()
    found["previous"] = float(np.mean([np.corrcoef(theta[:, k], below[:, k])[0, 1] for k in range(6)])) ** 2
    return found


def test_a_share_of_nothing_removes_its_cause_and_no_other(make: Made) -> None:
    plain = {"count": 600, "size": 16, "wafers_per_lot": 1, "outliers": 0.0, "residue": 0.0, "noise": 0.0}
    assert foretold(make("simulate", **plain))["previous"] > 0.28
    # the layer below follows logs and barcodes of its own, and would bring them along
    alone = {**plain, "from_previous": 0.0}
    whole = foretold(make("simulate", **alone))
    assert whole["previous"] < 0.03 and whole["logs"] > 0.3 and whole["barcode"] > 0.06
    for cause, other in (("logs", "barcode"), ("barcode", "logs")):
        without = foretold(make("simulate", **alone, **{f"from_{cause}": 0.0}))
        assert without[cause] < 0.03 and without[other] > 0.6 * whole[other], cause


def test_two_layers_are_alike_as_far_as_is_said(make: Made) -> None:
    maps = make("simulate", count=200, size=16, wafers_per_lot=1, noise=0)
    valid = maps.valid[...].astype(bool)
    rest = [residue(maps.raster, one[...], valid)[:, :, valid[0]].ravel() for one in (maps.values, maps.previous)]
    assert np.corrcoef(*rest)[0, 1] == pytest.approx(0.6, abs=0.03)
    assert abs(np.corrcoef(rest[0], np.roll(rest[1], len(rest[1]) // 2))[0, 1]) < 0.03  # of other wafers


def test_what_is_unseen_is_in_no_other_set_of_the_fab(make: Made) -> None:
    seen = make("simulate", count=100, size=16, wafers_per_lot=1)
    for part, field in (("tool", 0), ("reticle", 1)):
        other = make("simulate", count=100, size=16, wafers_per_lot=1, unseen=[part])
        names = [{code.split("|")[field].split("-")[0] for code in one.barcodes} for one in (seen, other)]
        assert not names[0] & names[1]
        assert {code.split("|")[1 - field] for code in other.barcodes} == {code.split("|")[1 - field] for code in seen.barcodes}


# measured: tables written by hand

AT = [(0.0, 0.0), (-11.5, -14.0), (11.5, -14.0), (-11.5, 14.0), (11.5, 14.0), (4.0, -3.0)]
FIELDS = [(c, r) for c in range(-5, 6) for r in range(-4, 5) if np.hypot(26 * c + 2, 33 * r - 5) < 125]
HEAD = ["wafer", "field", "X", "Y", "x", "y", "dx", "dy", "dx_previous", "dy_previous"]
WAFERS = [
    ["W1", "t01-c1|r0401a|l04|lota|w01", "28.5", ""],
    ["W2", "T01-C2|R0401A|L04|LOTA|W02", "", "1013"],
    ["W3", "T02-C1|R0402A|L04|LOTB|W01", "27", "998"],
]


def measured() -> list[list[Any]]:
    """Marks of three wafers in fields of 26 x 33 mm about (2, -5), each with values of its own."""
    rows = []
    for number, (wafer, *_) in enumerate(WAFERS):
        for c, r in FIELDS:
            for x, y in AT:
                X, Y = 26 * c + 2 + x, 33 * r - 5 + y
                if np.hypot(X, Y) < 147:
                    value = [round(float(v), 3) for v in (0.01 * X + number, -0.02 * Y + 0.3 * c, 0.1 * x + number, r - 0.05 * y)]
                    rows.append([wafer, f"{c}:{r}", X, Y, x, y, *value])
    return rows


def lines(path: Path, rows: list[list[Any]]) -> Path:
    path.write_text("".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def tables(folder: Path, marks: list[list[Any]] | None = None, wafers: list[list[str]] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    lines(folder / "overlay.csv", [HEAD, *(measured() if marks is None else marks)])
    lines(folder / "wafers.csv", [["wafer", "barcode", "dose [mJ/cm2]", "pressure [hPa]"], *(WAFERS if wafers is None else wafers), [], []])
    return folder


def pixels(rows: list[list[Any]], wafer: str, size: int, reach: float) -> tuple[np.ndarray, np.ndarray]:
    """What the page says a pixel is, one after the other: (four values [4,H,W], valid [H,W])."""
    pitch, found, valid = 300 / size, np.zeros((4, size, size)), np.zeros((size, size), bool)
    marks = [row for row in rows if row[0] == wafer]
    for i in range(size):
        for j in range(size):
            X, Y = (j + 0.5) * pitch - 150, 150 - (i + 0.5) * pitch
            if np.hypot(X, Y) > 147:
                continue
            own = f"{int(np.floor((X - 2) / 26 + 0.5))}:{int(np.floor((Y + 5) / 33 + 0.5))}"
            near = [row for row in marks if row[1] == own]
            inside = [row[6:] for row in near if -pitch / 2 <= row[2] - X < pitch / 2 and -pitch / 2 < row[3] - Y <= pitch / 2]
            away = sorted((np.hypot(row[2] - X, row[3] - Y), row[6:]) for row in near)
            if inside:
                found[:, i, j], valid[i, j] = np.mean(inside, 0), True
            elif away and away[0][0] < reach:
                found[:, i, j], valid[i, j] = away[0][1], True
    return found, valid


def test_a_pixel_is_the_mean_of_its_marks_or_the_nearest_of_its_field(tmp_path: Path, make: Made) -> None:
    rows, folder = measured(), tables(tmp_path / "fab")
    for size, reach, given in ((16, 0.999 * 18.75, {}), (26, 4.0, {"reach": 4.0}), (26, 0.0, {"reach": 0})):
        maps = make("load", folder, size=size, **given)
        for row, (wafer, *_) in enumerate(WAFERS):
            values, valid = pixels(rows, wafer, size, reach)
            assert np.array_equal(maps.valid[row], valid) and valid.any()
            np.testing.assert_allclose(maps.values[row], values[:2], atol=1e-5)
            np.testing.assert_allclose(maps.previous[row], values[2:], atol=1e-5)
    assert maps.raster == Raster(26, Fields(26.0, 33.0, 2.0, -5.0))
    assert maps.barcodes[0] == "T01-C1|R0401A|L04|LOTA|W01"
    assert maps.source_names == ["LOTA", "LOTB"] and maps.source[...].tolist() == [0, 0, 1]
    assert maps.log_names == ["dose", "pressure"] and maps.attrs["log_units"] == ["mJ/cm2", "hPa"]
    assert maps.logged[...].tolist() == [[1, 0], [0, 1], [1, 1]] and maps.logs[2].tolist() == [27, 998]


def test_parquet_a_table_below_and_other_names_are_read_alike(tmp_path: Path, make: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = measured()
    wanted = make("load", tables(tmp_path / "csv"), size=20)
    other = tmp_path / "parquet"
    other.mkdir()
    for name, part, ends in (("current.parquet", HEAD[:8], (6, 8)), ("previous.parquet", HEAD[:8], (8, 10))):
        columns = {told: [row[place] for row in rows] for place, told in enumerate(HEAD[:6])}
        columns |= {told: [row[place] for row in rows] for told, place in zip(part[6:], ends and range(*ends), strict=True)}
        columns["WaferID"] = columns.pop("wafer")
        parquet.write_table(pyarrow.table(columns), other / name)
    lines(
        other / "fab.csv", [["WaferID", "code", "lot", "dose [mJ/cm2]", "who"], *([w[0], w[1], f"my {w[0]}", w[2], "Bob"] for w in WAFERS)]
    )
    found = make("load", other, size=20, columns={"wafer": "WaferID", "barcode": "code"}, leave_out=["who"])
    for name in ("values", "previous", "valid", "barcodes"):
        assert np.array_equal(found.array(name)[...], wanted.array(name)[...]), name
    assert found.source_names == ["my W1", "my W2", "my W3"] and found.log_names == ["dose"]
    with pytest.raises(DataError, match="has no 'whom' to leave out; it has WaferID, code, lot"):
        make("load", other, size=20, columns={"wafer": "WaferID", "barcode": "code"}, leave_out=["who", "whom"])
    (other / "current.parquet").write_bytes((other / "current.parquet").read_bytes()[:-90] + b"PAR1")
    with pytest.raises(DataError, match=r"current\.parquet: damaged"):
        make("load", other, columns={"wafer": "WaferID", "barcode": "code"})
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(EnvironmentProblem, match=r"needs pyarrow: pip install 'fabloom\[parquet\]'"):
        make("load", other)


def changed(row: int, column: int, value: Any) -> list[list[Any]]:
    rows = measured()
    rows[row][column] = value
    return rows


def micrometres(chosen: Callable[[list[Any]], bool], first: int, last: int) -> list[list[Any]]:
    """Marks of which some columns of some rows are in another unit."""
    return [[*row[:first], *(v / 1000 for v in row[first:last]), *row[last:]] if chosen(row) else row for row in measured()]


@pytest.mark.parametrize(
    ("marks", "message"),
    [
        (lambda: changed(3, 6, 2300), r"overlay\.csv: row 5, column dx is 2300, beyond the 1000 nm .* another unit"),
        (lambda: changed(3, 9, "nan"), r"row 5, column dy_previous is empty or NaN; leave out marks"),
        (lambda: changed(3, 6, ""), "row 5, column dx is empty or NaN"),
        (lambda: changed(3, 6, "1,5"), "row 5 has 11 cells, the header 10"),
        (lambda: [*measured(), [], [], *measured()[:1]], r"row \d+ has 0 cells, the header 10"),
        (lambda: changed(3, 6, "ok"), "row 5, column dx holds 'ok', which is no number"),
        (lambda: changed(0, 2, -102000), "row 2, column X is -102000, beyond the 150.5 mm"),
        (lambda: changed(0, 4, 4000), "row 2, column x is 4000, beyond the 13.5 mm"),
        (lambda: changed(0, 0, ""), "row 2, column wafer is empty"),
        (lambda: changed(0, 0, "W9"), "wafer 'W9' is not in the table of wafers"),
        (lambda: changed(7, 2, measured()[7][2] + 1.5), r"row 9 \(wafer 'W1'\): field '-4:-?\d' has its centre at X - x = .* in row"),
        (lambda: [[*row[:6], *(v / 1000 for v in row[6:])] for row in measured()], "no displacement in column dx is larger than 0.00.* nm, which nobody can"),
        (lambda: micrometres(lambda row: row[0] == "W2", 6, 10), "no displacement of wafer 'W2' in column dx is .*1 of 3 wafers.* another unit"),
        (lambda: micrometres(lambda row: True, 8, 9), "no displacement in column dx_previous is larger than 0.00.* another unit"),
        (lambda: [row for row in measured() if row[0] != "W2"], "wafer 'W2' of the table of wafers has no marks"),
        (lambda: [row for row in measured() if row[1][-2:] == ":0"], "all fields have one centre along Y.*give field_height"),
        (lambda: [[*row[:2], row[2] + 7 * (row[1] == "1:1"), *row[3:]] for row in measured()], "neighbour begins at|off a grid|mm apart"),
        (lambda: [], "has no marks under its header"),
    ],
)  # fmt: skip
def test_marks_that_cannot_be_are_refused_with_their_row(tmp_path: Path, make: Made, marks: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make("load", tables(tmp_path / "fab", marks()))


@pytest.mark.parametrize(
    ("wafers", "message"),
    [
        ([WAFERS[0], WAFERS[0], WAFERS[2]], "wafer 'W1' is there twice"),
        ([WAFERS[0], ["W2", *WAFERS[0][1:]], WAFERS[2]], "wafers 'W1' and 'W2' both have the barcode T01-C1.*names one wafer"),
        ([["W1", "T01/C1", "1", "2"], *WAFERS[1:]], r"wafers\.csv: barcode 0 is 'T01/C1'"),
        ([["W1", "T01", "1e60", "2"], *WAFERS[1:]], r"log dose \[mJ/cm2\] of wafer 'W1' is 1e\+60"),
        ([["W1", "T01", "Bob", "2"], *WAFERS[1:]], r"wafers\.csv: row 2, column dose .* holds 'Bob'"),
        ([], "holds 0 wafers"),
    ],
)
def test_wafers_that_cannot_be_are_refused_by_the_plan(tmp_path: Path, store: LocalStore, wafers: Any, message: str) -> None:
    step = {"task": "overlay-map.load", "params": {"path": str(tables(tmp_path / "fab", wafers=wafers))}}
    with pytest.raises(PipelineError, match=rf"(?s)steps\.maps\.params: .*{message}") as error:
        make_plan(Pipeline.model_validate({"name": "fab", "steps": {"maps": step}}), Registry.load(), store)
    assert error.value.exit_code == 2


def test_equal_barcodes_that_name_no_wafer_are_of_one_lot(tmp_path: Path, make: Made) -> None:
    same = [[name, "17", dose, pressure] for name, _, dose, pressure in WAFERS]
    maps = make("load", tables(tmp_path / "fab", wafers=same), size=16)
    assert maps.source_names == ["17"] and maps.barcodes == ["17"] * 3


@pytest.mark.parametrize(("mark", "called"), [(";", "';'"), ("\t", "tabs")])
def test_a_table_with_other_separators_says_which(tmp_path: Path, make: Made, mark: str, called: str) -> None:
    folder = tables(tmp_path / "fab")
    for file in folder.glob("*.csv"):
        file.write_text(file.read_text().replace(",", mark))
    with pytest.raises(DataError, match=f"its cells are separated by {called}; save it with commas"):
        make("load", folder)


def test_a_folder_says_what_was_found_where_it_is_none(tmp_path: Path, make: Made) -> None:
    folder = tmp_path / "fab"
    folder.mkdir()
    (folder / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match=r"holds notes\.txt; wanted are tables"):
        make("load", folder)
    tables(folder)
    with pytest.raises(DataError, match="is one file; give the folder"):
        make("load", folder / "overlay.csv")
    lines(folder / "overlay.csv", [HEAD[:8], *(row[:8] for row in measured())])
    with pytest.raises(DataError, match="overlay of the layer below is told nowhere: by dx_previous and dy_previous"):
        make("load", folder)
    lines(folder / "overlay.csv", [HEAD[1:], *(row[1:] for row in measured())])
    with pytest.raises(DataError, match=r"overlay\.csv: has no column wafer; it has field, X"):
        make("load", folder)
    lines(folder / "overlay.csv", [["um_x"], ["1"]])
    with pytest.raises(DataError, match=r"'overlay\.csv' has um_x; 'wafers\.csv' has wafer, barcode.* Wanted are one table of marks"):
        make("load", folder)
    (folder / "overlay.csv").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="its name says csv, its first bytes Parquet"):
        make("load", folder)
    (folder / "overlay.csv").write_bytes(b"X," * (1 << 19))
    with pytest.raises(DataError, match="a line of 1,048,576 characters or more"):
        make("load", folder)
    with (folder / "overlay.csv").open("wb") as file:
        os.truncate(file.fileno(), 5 << 20)
    with pytest.raises(DataError, match="is 5 MiB, more than max_mib=4; raise max_mib"):
        make("load", folder, max_mib=4)
    with pytest.raises(DataError, match=r"3 wafers of 512 x 512 pixels take 13 MiB, more than max_mib=8; lower size"):
        make("load", tables(folder), size=512, max_mib=8)
    with pytest.raises(ValidationError, match="'Dx' has no meaning; there are wafer, field"):
        LoadParams.model_validate({"path": "x", "columns": {"Dx": "dx"}})


def test_a_stop_is_honoured_and_a_plan_knows_the_arrays(
    tmp_path: Path, store: LocalStore, run_task: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, asked = tables(tmp_path / "fab"), []
    monkeypatch.setattr(loading, "foreseen", lambda params: (asked.append(True), layout_of(params))[1])
    with pytest.raises(Interrupted, match=r"stopped after 0 of \d+ \(read\)"):
        run_task(OverlayMap, "load", {"path": str(folder)}, stop=lambda: bool(asked))
    monkeypatch.undo()
    steps = {
        "maps": {"task": "overlay-map.load", "params": {"path": str(folder)}},
        "fab": {"task": "overlay-map.simulate", "params": {"count": 9}},
        "learn": {"task": "overlay-map.split", "inputs": {"maps": "fab"}, "params": {"part": "train"}},
    }
    plan = make_plan(Pipeline.model_validate({"name": "fab", "steps": steps}), Registry.load(), store)
    known = {step.name: OverlayMap.expect(step, {}) for step in plan.steps}
    assert known["maps"] is not None and known["maps"].arrays["values"] == ((3, 2, 32, 32), "float32")
    assert known["fab"] is not None and known["fab"].arrays["truth"] == ((9, len(NAMES)), "float32")
    learn = next(step for step in plan.steps if step.name == "learn")
    part = OverlayMap.expect(learn, {"maps": known["fab"]})
    assert part is not None and not part.arrays and part.most == known["fab"].size


# measured: files of each wafer


def seed_files(root: Path, *, flat: bool = False, current: str = "npy") -> np.ndarray:
    """Three wafers as the published loader names them: values [3,2,16,16] that the files hold."""
    draw = np.random.default_rng(0)
    root.mkdir(exist_ok=True)
    (root / "scale.json").write_text('{"nm_at_0": -12.75, "nm_at_255": 12.75}')
    levels = draw.integers(0, 256, (3, 2, 16, 16)).astype(np.uint8)
    for number in range(3):
        folder, suffix = (root, f"_{number:04d}") if flat else (root / f"wafer{number}", "")
        folder.mkdir(exist_ok=True)
        blue = np.full((16, 16), 255, np.uint8)
        blue[8, 8] = 0
        Image.fromarray(np.dstack([*levels[number], blue])).save(folder / f"overlay_prev{suffix}.png")
        names, values = ["dose [mJ/cm2]", "bow"], [28.0 + number, None]
        told = {"features": values, "names": names} if number else dict(zip(names, values, strict=True))
        (folder / f"logs{suffix}.json").write_text(json.dumps(told))
        (folder / f"id{suffix}.txt").write_text(f"t0{number}-c1|r1|l4|lot{number // 2}|w1\n")
        if current == "npy":
            array = (levels[number] - 127.5).astype(np.float32)
            array[0, 7, 7] = np.nan
            np.save(folder / f"overlay{suffix}.npy", array)
        else:
            Image.fromarray(np.dstack([*levels[number][::-1], blue])).save(folder / f"overlay{suffix}.png")
    return levels


@pytest.mark.parametrize("flat", [False, True])
def test_pictures_arrays_logs_and_barcodes_of_each_wafer(tmp_path: Path, make: Made, flat: bool) -> None:
    levels = seed_files(tmp_path / "mpom", flat=flat)
    maps = make("load", tmp_path / "mpom")
    on = np.hypot(*np.meshgrid((np.arange(16) + 0.5) * 18.75 - 150, (np.arange(16) + 0.5) * 18.75 - 150)) <= 147
    on[8, 8] = on[7, 7] = False
    assert np.array_equal(maps.valid[...].astype(bool), np.broadcast_to(on, (3, 16, 16)))
    nm = (levels * 0.1 - 12.75) * on
    np.testing.assert_allclose(maps.previous[...], nm, atol=1e-5)
    np.testing.assert_allclose(maps.values[...], (levels - 127.5) * on, atol=1e-5)
    assert maps.barcodes == [f"T0{number}-C1|R1|L4|LOT{number // 2}|W1" for number in range(3)]
    assert maps.source_names == ["LOT0", "LOT1"] and maps.log_names == ["dose", "bow"] and maps.attrs["log_units"] == ["mJ/cm2", ""]
    assert maps.logs[...].tolist() == [[28, 0], [29, 0], [30, 0]] and maps.logged[...].tolist() == [[1, 0]] * 3
    seed_files(tmp_path / "both", flat=flat, current="png")
    pictured = make("load", tmp_path / "both", field_width=25.0)
    np.testing.assert_allclose(pictured.values[...] * on, nm[:, ::-1], atol=1e-5)
    assert pictured.raster.fields == Fields(25.0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "scale.json").unlink(), r'no scale\.json says how many nm.*write {"nm_at_0": -12, "nm_at_255": 12}'),
        (lambda f: (f / "scale.json").write_text('{"nm_at_0": 5, "nm_at_255": -5}'), "says no scale"),
        (lambda f: (f / "wafer1/overlay.npy").unlink(), r"wafer 'wafer1' has a map of the layer below and none of the current one, for which"),
        (lambda f: np.save(f / "wafer1/overlay.npy", np.array([{}], object)), "pickled Python objects, which are never loaded"),
        (lambda f: np.save(f / "wafer1/overlay.npy", np.zeros((2, 32, 32), np.float32)), r"float32 \[2, 32, 32\], where float32 \[2,16,16\]"),
        (lambda f: np.save(f / "wafer1/overlay.npy", np.full((2, 16, 16), 2e3, np.float32)), "holds 2000, more than 1000 nm"),
        (lambda f: (f / "wafer1/overlay.npy").write_bytes(b"\x93NUMPY\x01\x00\x76\x00{"), "no file of numpy that can be read"),
        (lambda f: (f / "wafer1/id.txt").unlink(), r"'id\.txt' of wafer 'wafer1' is missing"),
        (lambda f: (f / "wafer1/id.txt").write_text("../../etc"), r"barcode 1 is '\.\./\.\./ETC'"),
        (lambda f: (f / "wafer1/id.txt").write_text("X" * (2 << 20)), "is larger than 1 MiB"),
        (lambda f: (f / "wafer1/logs.json").write_text("[" * 100_000), r"logs\.json: is no JSON that can be read"),
        (lambda f: (f / "wafer1/logs.json").write_text('{"dose": NaN}'), "log 'dose' is 'nan'; a log is a number, or null"),
        (lambda f: (f / "wafer1/logs.json").write_text('{"names": ["a"], "features": []}'), "lists of one length"),
        (lambda f: Image.new("RGB", (20, 20)).save(f / "wafer1/overlay_prev.png"), "is 20 x 20 RGB, where 16 x 16 RGB"),
        (lambda f: Image.new("L", (16, 16)).save(f / "wafer1/overlay_prev.png"), "is 16 x 16 L, where 16 x 16 RGB"),
        (lambda f: Image.new("1", (9000, 9000)).save(f / "wafer0/overlay_prev.png"), "a map is square, of 16 to 512 pixels a side"),
        (lambda f: (f / "wafer0/overlay_prev.png").write_bytes(b"GIF89a"), "is no PNG"),
        (lambda f: lines(f / "marks.csv", [HEAD]), r"holds both overlay_prev\.png and the table 'marks\.csv'"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_are_refused(tmp_path: Path, make: Made, change: Any, message: str) -> None:
    seed_files(tmp_path / "mpom")
    change(tmp_path / "mpom")
    with pytest.raises(DataError, match=message):
        make("load", tmp_path / "mpom")


# split, and back to tables


def test_a_split_never_mixes_groups_and_leaves_nothing_out(make: Made) -> None:
    maps = make("simulate", count=90, size=16, wafers_per_lot=5)
    for by, group in (("lot", lambda c: c.split("|")[3]), ("reticle", lambda c: c.split("|")[1]), ("tool", lambda c: c[:3])):
        parts = {part: make("split", maps=maps, part=part, by=by, share=0.3, seed=4) for part in ("train", "test")}
        sides = {part: {group(code) for code in one.barcodes} for part, one in parts.items()}
        assert not sides["train"] & sides["test"] and sides["train"] and sides["test"]
        assert sorted(parts["train"].barcodes + parts["test"].barcodes) == sorted(maps.barcodes)
        assert len(sides["test"]) == round(0.3 * len({group(code) for code in maps.barcodes}))
        held = parts["test"]
        rows = [maps.barcodes.index(code) for code in held.barcodes]
        assert rows == sorted(rows)
        for name in ("values", "previous", "valid", "logs", "logged", "truth", "told"):
            assert np.array_equal(held.array(name)[...], maps.array(name)[...][rows]), name
        assert [held.source_names[lot] for lot in held.source[...]] == [code.split("|")[3] for code in held.barcodes]
        assert set(held.attrs["groups"]) == sides["test"] and held.raster == maps.raster
    others = [set(make("split", maps=maps, part="test", share=0.3, seed=seed).source_names) for seed in range(3)]
    assert any(one != others[0] for one in others)
    assert set(make("split", maps=maps, part="test", by="tool", field=5).attrs["groups"]) <= {f"W{n:02d}" for n in range(1, 26)}


def test_a_split_of_one_group_or_of_barcodes_that_tell_none_is_refused(make: Made) -> None:
    maps = make("simulate", count=4, size=16)
    with pytest.raises(DataError, match=r"wafers of one lot alone, 'LOT\w{4}': none is left to learn from"):
        make("split", maps=maps, part="train")
    with pytest.raises(DataError, match=r"field 9 of barcode T\d.* tells no reticle; say with `field`"):
        make("split", maps=maps, part="train", by="reticle", field=9)


def test_tables_that_are_written_are_read_again(tmp_path: Path, make: Made, store: LocalStore) -> None:
    made = make("simulate", count=7, size=20, wafers_per_lot=3, field_width=25.0, field_height=31.0, missing=0.2)
    maps = Registry.load().open_store(store.url).get(made.key)  # as who exports it: no method was asked for
    assert type(maps) is OverlayMaps and "7 wafers of 20 × 20 with 32 logs" in maps.summary()
    maps.exports()["csv"](tmp_path)
    again = make("load", tmp_path, size=20)
    for name in ("values", "previous", "valid", "logs", "logged", "barcodes", "source"):
        assert np.array_equal(again.array(name)[...], maps.array(name)[...]), name
    assert again.raster == maps.raster and again.source_names == maps.source_names
    assert again.log_names == maps.log_names and again.attrs["log_units"] == maps.attrs["log_units"]
    assert again.truth is None and again.told is None
    with (tmp_path / "overlay.csv").open(newline="") as file:
        first = next(csv.DictReader(file))
    assert first["wafer"] == "0" and float(first["Y"]) == 142.5  # the top row


def test_maps_with_holes_keep_them(tmp_path: Path, make: Made) -> None:
    maps = make("load", tables(tmp_path / "fab"), size=26, reach=0)
    assert not maps.valid[0][maps.raster.valid].all()
    (tmp_path / "out").mkdir()
    maps.exports()["csv"](tmp_path / "out")
    again = make("load", tmp_path / "out", size=26)
    for name in ("values", "previous", "valid"):
        assert np.array_equal(again.array(name)[...], maps.array(name)[...]), name
    assert again.raster == maps.raster


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"previous": np.full((2, 2, 16, 16), np.nan, np.float32)}, "previous holds NaN or infinity where valid is 1"),
        ({"previous": np.zeros((2, 2, 8, 8), np.float32)}, "must be those of values"),
        ({"logs": np.zeros((2, 0), np.float32), "log_names": [], "log_units": []}, "at least one"),
        ({"barcodes": ["T01", "t02"]}, "barcode 1 is 't02'"),
        ({"barcodes": ["T01"]}, "1 barcodes for 2 maps"),
    ],
)
def test_what_is_no_set_is_not_written(change: dict[str, Any], message: str) -> None:
    raster, zeros = Raster(16), np.zeros((2, 2, 16, 16), np.float32)
    given = {"previous": zeros, "valid": np.broadcast_to(raster.valid, (2, 16, 16)), "logs": np.zeros((2, 1), np.float32)}
    given |= {"log_names": ["dose"], "log_units": [""], "barcodes": ["T01", "T02"], "raster": raster}
    given |= {"source": np.zeros(2, np.int32), "source_names": ["lot"]}
    with pytest.raises(DataError, match=message):
        write_artifact(MemoryStore(), lambda ctx: OverlayMaps.write_maps(ctx, zeros, **(given | change)))


@pytest.mark.parametrize("single", [False, True])
def test_init_says_where_a_pipeline_for_tables_of_overlay_is_and_leaves_other_tables_alone(tmp_path: Path, single: bool) -> None:
    folder = tables(tmp_path / "fab")
    with pytest.raises(DataError, match=r"overlay\.csv: is a table of overlay, .*docs/overlay\.md"):
        OverlayMap.survey(folder / "overlay.csv" if single else folder, {})
    (folder / "image.png").touch()
    assert OverlayMap.survey(folder, {}) is None, "a table beside images tells of them"
    (folder / "image.png").unlink()
    (folder / "overlay.csv").unlink()
    assert OverlayMap.survey(folder / "wafers.csv" if single else folder, {}) is None
