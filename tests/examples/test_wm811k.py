"""The conversion of WM-811K: a table as Python 2 and pandas 0.18 pickled it becomes an npz that fabloom reads, and nothing in it is run.

No pandas has a part in it: the pickles here are written as those were, opcode for opcode, with stand-ins for the classes of pandas.
"""

from __future__ import annotations

import copyreg
import importlib.util
import io
import os
import pickle
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from fabloom.plugins.data.wafer_map.encoding import decoded
from fabloom.plugins.data.wafer_map.method import WaferMap

SCRIPT = Path(__file__).parents[2] / "examples" / "wm811k_to_npz.py"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wm811k_to_npz", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class DataFrame:
    """Pickled as pandas' own by Python 2: made by `copy_reg.__newobj__`, then given its state."""

    def __init__(self, state: Any) -> None:
        self.state = state

    def __reduce_ex__(self, protocol: Any) -> Any:
        return copyreg.__newobj__, (type(self),), self.state


class BlockManager(DataFrame):
    pass


class Index:
    def __init__(self, **state: Any) -> None:
        self.state = state

    def __reduce_ex__(self, protocol: Any) -> Any:
        return _new_index, (type(self), self.state)


class RangeIndex(Index):
    pass


def _new_index(kind: Any, state: Any) -> Any:
    raise AssertionError("never called: its name is all that is written")


NAMES = {
    DataFrame: "pandas.core.frame DataFrame",
    BlockManager: "pandas.core.internals BlockManager",
    Index: "pandas.indexes.base Index",
    RangeIndex: "pandas.indexes.range RangeIndex",
    _new_index: "pandas.indexes.base _new_Index",
    slice: "__builtin__ slice",
}


class OldPickler(pickle._Pickler):
    """Writes protocol 2 as Python 2 does: names of then, and bytes as its `str`."""

    dispatch = pickle._Pickler.dispatch.copy()

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module, name = NAMES.get(obj, f"{obj.__module__.replace('numpy._core', 'numpy.core')} {name or obj.__qualname__}").split()
        self.write(b"c" + module.encode() + b"\n" + name.encode() + b"\n")
        self.memoize(obj)

    def save_str(self, obj: bytes) -> None:
        self.write(b"T" + struct.pack("<i", len(obj)) + obj)
        self.memoize(obj)

    dispatch[bytes] = save_str
    dispatch[type] = save_global
    dispatch[type(_new_index)] = save_global
    dispatch[type(len)] = save_global


def cell(text: str | None) -> np.ndarray:
    """As Matlab's cells came through scipy: text in an array in an array, and an empty array for none."""
    return np.array([[text]]) if text else np.empty((0, 0))


def table(maps: list[np.ndarray], labels: list[str | None], **changed: Any) -> DataFrame:
    """A frame of two blocks as WM-811K is: waferIndex and dieSize as numbers, the rest as objects."""
    count = len(maps)
    columns: dict[str, list[Any]] = {
        "waferMap": maps,
        "lotName": [f"lot{1 + row // 2}" for row in range(count)],
        "trianTestLabel": [cell("Training" if label else None) for label in labels],
        "failureType": [cell(label) for label in labels],
    } | changed
    objects = np.empty((len(columns), count), object)
    for place, values in enumerate(columns.values()):
        for row, value in enumerate(values):
            objects[place, row] = value
    numbers = np.asfortranarray([[float(one.size) for one in maps], [float(1 + row) for row in range(count)]])
    names = np.array(["waferMap", "dieSize", "lotName", "waferIndex", "trianTestLabel", "failureType"], object)
    axes = [Index(data=names, name=None), RangeIndex(start=0, stop=count, step=1, name=None)]
    blocks = [{"values": numbers, "mgr_locs": slice(1, 5, 2)}, {"values": objects, "mgr_locs": np.array([0, 2, 4, 5])}]
    manager = BlockManager((axes, [numbers, objects], [], {"0.14.1": {"axes": axes, "blocks": blocks}}))
    return DataFrame({"_data": manager, "_typ": "dataframe", "_metadata": []})


def write(path: Path, given: Any) -> Path:
    file = io.BytesIO()
    OldPickler(file, 2).dump(given)
    path.write_bytes(file.getvalue())
    return path


@pytest.fixture
def wafers() -> tuple[list[np.ndarray], list[str | None]]:
    draw = np.random.default_rng(3)
    maps = [draw.integers(0, 3, sides).astype(np.uint8) for sides in ((6, 21), (20, 20), (9, 7), (12, 12))]
    maps[1] = np.asfortranarray(maps[1])
    maps[2] = maps[2].astype(np.int64)
    return maps, ["none", "Edge-Ring", None, "Near-full"]


def test_a_table_of_python_2_becomes_a_set(script: ModuleType, wafers: Any, tmp_path: Path, run_task: Any, capsys: Any) -> None:
    maps, labels = wafers
    source = write(tmp_path / "LSWMD.pkl", table(maps, labels))
    assert b"cpandas.indexes.base\n_new_Index" in source.read_bytes() and b"c__builtin__\nslice" in source.read_bytes()
    assert b"numpy._core" not in source.read_bytes() and b"_codecs" not in source.read_bytes()
    assert script.main([str(source), str(tmp_path / "some.npz")]) == 0
    assert "3 maps, 2 lots; 1 none" in capsys.readouterr().out
    assert script.main([str(source), str(tmp_path / "all.npz"), "--unlabelled"]) == 0
    with np.load(tmp_path / "all.npz", allow_pickle=False) as held:
        assert held["labels"].tolist() == [0, 4, -1, 6] and held["parts"].tolist() == ["Training", "Training", "", "Training"]
        assert held["names"].tolist() == ["lot1-01", "lot1-02", "lot2-03", "lot2-04"]
        assert np.array_equal(held["values"], np.concatenate([one.ravel() for one in maps]))
    images = run_task(WaferMap, "load", {"path": str(tmp_path / "some.npz"), "fit": "pad", "size": 24})
    found = decoded(images.images[...])
    assert [images.class_names[label] for label in images.labels[...]] == ["none", "Edge-Ring", "Near-full"]
    assert np.array_equal(found[1][2:22, 2:22], maps[1]) and np.array_equal(found[0][9:15, 1:22], maps[0])
    assert [images.source_names[at] for at in images.source[...]] == ["lot1", "lot1", "lot2"]
    unlabelled = run_task(WaferMap, "load", {"path": str(tmp_path / "all.npz"), "fit": "pad", "size": 24, "labelled": False})
    assert np.array_equal(decoded(unlabelled.images[0])[7:16, 8:15], maps[2])


class Runs:
    """What a pickle may hold: a call of anything."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call = call, arguments

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("where", ["alone", "in a cell"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_runs_something_is_refused_and_nothing_ran(
    script: ModuleType, wafers: Any, tmp_path: Path, capsys: Any, where: str, protocol: int
) -> None:
    ran = tmp_path / "ran"
    bad: Any = Runs(os.mkdir, str(ran))
    path = tmp_path / "bad.pkl"
    if where == "alone":
        path.write_bytes(pickle.dumps(bad, protocol))
    else:
        write(path, table(*wafers, lotName=["lot1", bad, "lot2", "lot2"]))
    assert script.main([str(path), str(tmp_path / "out.npz")]) == 1
    told = capsys.readouterr().err
    assert "posix.mkdir" in told.replace("nt.mkdir", "posix.mkdir") and told.count("\n") == 1 and "nothing was run" in told
    assert not ran.exists() and not (tmp_path / "out.npz").exists()
    if where == "alone":  # a control: what is not restricted runs it
        pickle.loads(path.read_bytes())
        assert ran.is_dir()


CALL = b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\x80\x04\x8c\x05numpy\x8c\x0fdtype.__class__\x93.", "it wants numpy.dtype.__class__"),
        (b"\x80\x02cbuiltins\neval\n.", "it wants builtins.eval"),
        (b"\x80\x02cbuiltins\ngetattr\n.", "it wants builtins.getattr"),
        (b"\x80\x02cpandas.io.pickle\nread_pickle\n.", "it wants pandas.io.pickle.read_pickle"),
        (b"\x80\x02Pelsewhere\n.", "outside of the file"),
        (b"\x80\x02X\x01\x00\x00\x00aQ.", "outside of the file"),
        (CALL + b"}X\x01\x00\x00\x00aK\x01sb.", "wants to change a function"),
        (CALL + b"cbuiltins\nslice\nK\x00\x85U\x01b\x87R.", "asked for something else than an array"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00rot\x86R.", "_codecs.encode is asked for 'rot'"),
        (b"\x80\x02cnumpy\nndarray\n.", "it holds no pandas DataFrame"),
        (b"\x80\x02K\x01.", "it holds no pandas DataFrame"),
        (b"\x80\x02cpandas.core.frame\nDataFrame\n)\x81.", "no table as pandas"),
        (b"no pickle", "damaged, or no pickle"),
        (b"", "damaged, or no pickle"),
    ],
)
def test_other_pickles_are_refused_in_one_line(script: ModuleType, tmp_path: Path, capsys: Any, content: bytes, message: str) -> None:
    (tmp_path / "other.pkl").write_bytes(content)
    assert script.main([str(tmp_path / "other.pkl"), str(tmp_path / "out.npz")]) == 1
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1
    assert not list(tmp_path.glob("*.npz"))


class Lies(np.ndarray):
    """An array of objects that claims to hold its pointers as bytes, which numpy would follow."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        return np.zeros(1).__reduce__()[0], (np.ndarray, (0,), b"b"), (1, (1,), np.dtype(object), False, bytes(8))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"failureType": [cell("Blob")] * 4}, "row 0 is labelled 'Blob'; known are none"),
        ({"failureType": [cell(None)] * 4}, "none of its maps is labelled"),
        ({"failureType": [np.array([["none", "Loc"]])] * 4}, "holds 2 values"),
        ({"waferMap": [np.full((3, 3), 7, np.uint8)] * 4}, "row 0 has dies other than"),
        ({"waferMap": [np.full((3,), 1, np.uint8)] * 4}, "row 0 has no map"),
        ({"waferMap": [np.zeros(1).view(Lies)] * 4}, "an array of objects is not the list of them"),
        ({"failureType": [np.array([[2**31 - 1]], "<u4").view("<U1")] * 4}, "letters that do not exist"),
        ({"waferMap": [np.zeros((2, 2), "M8[s]")] * 4}, "none of numbers, text or objects"),
    ],
)
def test_tables_of_something_else_are_refused(
    script: ModuleType, wafers: Any, tmp_path: Path, capsys: Any, changed: dict[str, Any], message: str
) -> None:
    path = write(tmp_path / "LSWMD.pkl", table(*wafers, **changed))
    assert script.main([str(path), str(tmp_path / "out.npz")]) == 1
    assert message in capsys.readouterr().err


def test_an_existing_file_is_kept(script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "there.npz").write_bytes(b"mine")
    with pytest.raises(SystemExit):
        script.main([str(SCRIPT), str(tmp_path / "there.npz")])
    assert (tmp_path / "there.npz").read_bytes() == b"mine"
