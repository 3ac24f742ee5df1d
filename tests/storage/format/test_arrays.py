from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path
from weakref import WeakSet

import numpy as np
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec

from fabloom.errors import DamagedArtifact, DataError
from fabloom.kinds import RowSpec
from fabloom.storage.format import files
from fabloom.storage.format import rows as rows_module
from fabloom.storage.format.arrays import Rows, StoredArray, create_array, create_group, write_shard, write_tensor
from fabloom.storage.format.layout import DTYPES

QUICK = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def values(dtype: str, shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Compressible but not constant values of any dtype, with NaN-free floats."""
    draws = np.random.default_rng(seed).normal(size=shape) * 20
    return (draws > 0) if dtype == "bool" else (np.abs(draws) if dtype.startswith("u") else draws).astype(dtype)


def store(folder: Path, rows: np.ndarray, block: int, *, compress: bool = True, threads: int = 2) -> StoredArray:
    spec = RowSpec(str(rows.dtype), rows.shape[1:], compress)
    create_array(folder, spec, len(rows), block)
    for index in range(0, len(rows), block):
        write_shard(folder, index // block, rows[index : index + block], spec, block, threads)
    return StoredArray(folder, None)


def data_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "zarr.json")


@QUICK
@given(
    dtype=st.sampled_from(sorted(DTYPES)),
    count=st.integers(1, 9),
    block=st.integers(1, 5),
    shape=st.lists(st.integers(1, 5), max_size=3).map(tuple),
    compress=st.booleans(),
)
def test_zarr_python_and_we_read_the_same_rows(tmp_path, dtype, count, block, shape, compress):
    folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
    rows = values(dtype, (count, *shape))
    ours = store(folder, rows, block, compress=compress)
    theirs = zarr.open_array(str(folder), mode="r")
    assert (theirs.shape, theirs.dtype, ours.shape, ours.dtype) == (rows.shape, rows.dtype) * 2
    np.testing.assert_array_equal(theirs[...], rows)
    np.testing.assert_array_equal(ours[...], rows)


@pytest.mark.parametrize("shape", [(3, 4, 5), ()], ids=["a row a chunk", "a block a chunk"])
@pytest.mark.parametrize("compress", [True, False])
def test_what_zarr_python_writes_in_this_layout_is_read(tmp_path, shape, compress):
    rows = values("int16", (7, *shape)) + 1000  # zarr-python leaves out chunks that are all zero
    create_array(tmp_path / "a", RowSpec("int16", shape, compress), 7, 3)
    zarr.open_array(str(tmp_path / "a"), mode="r+")[...] = rows
    np.testing.assert_array_equal(StoredArray(tmp_path / "a", None)[...], rows)


@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,), (4, 3), (2, 3, 4, 5)])
@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_tensors_of_any_shape_and_dtype(tmp_path, shape, dtype):
    value = values(dtype, shape)
    write_tensor(tmp_path / "t", np.asarray(value), {"of": "a net"})
    ours, theirs = StoredArray(tmp_path / "t", None), zarr.open_array(str(tmp_path / "t"), mode="r")
    for found in (ours[...], np.asarray(ours), theirs[...]):
        np.testing.assert_array_equal(found, value)
        assert (np.asarray(found).dtype, np.shape(found)) == (np.asarray(value).dtype, shape)
    assert dict(theirs.attrs) == {"of": "a net"}


def test_metadata_names_the_axes_and_is_canonical(tmp_path):
    spec = RowSpec("int8", (2, 3), dims=("y", "x"))
    for name in "ab":
        create_array(tmp_path / name, spec, 5, 2)
        create_group(tmp_path / f"group-{name}", {"b": 1, "a": [2.5, None]} if name == "a" else {"a": [2.5, None], "b": 1})
    assert zarr.open_array(str(tmp_path / "a")).metadata.dimension_names == ("sample", "y", "x")
    assert (tmp_path / "a/zarr.json").read_bytes() == (tmp_path / "b/zarr.json").read_bytes()
    assert (tmp_path / "group-a/zarr.json").read_bytes() == (tmp_path / "group-b/zarr.json").read_bytes()
    assert dict(zarr.open_group(str(tmp_path / "group-a")).attrs) == {"b": 1, "a": [2.5, None]}


def test_declaring_an_array_again_keeps_its_shards(tmp_path):
    rows = values("int8", (6, 70))
    store(tmp_path / "a", rows, 2)
    create_array(tmp_path / "a", RowSpec("int8", (70,)), 6, 2)
    np.testing.assert_array_equal(StoredArray(tmp_path / "a", None)[...], rows)


def test_rows_of_zeros_are_written_and_big_endian_or_strided_rows_are_normalised(tmp_path):
    zeros = store(tmp_path / "zeros", np.zeros((4, 80), np.int8), 4)
    assert not zeros[...].any()
    rows = values("float32", (4, 6, 20))
    spec = RowSpec("float32", (20, 6))
    create_array(tmp_path / "a", spec, 4, 4)
    write_shard(tmp_path / "a", 0, rows.transpose(0, 2, 1), spec, 4)
    np.testing.assert_array_equal(StoredArray(tmp_path / "a", None)[...], rows.transpose(0, 2, 1))
    write_tensor(tmp_path / "big", rows.astype(">f4"))
    np.testing.assert_array_equal(StoredArray(tmp_path / "big", None)[...], rows)


@pytest.mark.parametrize(
    "wrong", [np.zeros((2, 4), np.int8), np.zeros((2, 3), np.int16), np.zeros((5, 3), np.int8), np.zeros((0, 3), np.int8)]
)
def test_rows_that_do_not_fit_are_refused(tmp_path, wrong):
    with pytest.raises(ValueError, match="takes 1 to 4 rows"):
        write_shard(tmp_path / "a", 0, wrong, RowSpec("int8", (3,)), 4)


@pytest.mark.parametrize("shape", [(5, 20), (5, 2)], ids=["a row a chunk", "a block a chunk"])
@pytest.mark.parametrize(
    "index",
    [
        3, -1, np.int64(2), slice(None), slice(7, 1, -2), slice(20, 30), [4, 1, 1, 8], [], np.array([[0, 5], [8, 0]]), np.arange(9) > 4,
        Ellipsis, (), None, (slice(2, 6), 1), ([1, 2], [0, 1]), ([7, 3], slice(None), 1), (2, ..., 0), (..., 1), (slice(None), [0, 2]),
        (np.arange(9) % 2 == 0, 3),
    ],
    ids=repr,
)  # fmt: skip
def test_indexing_is_numpys(tmp_path, shape, index):
    rows = values("int16", (9, *shape))
    found = store(tmp_path / "a", rows, 4)[index]
    expected = rows[index]
    np.testing.assert_array_equal(found, expected)
    assert np.shape(found) == expected.shape


def test_indexing_out_of_range_or_by_nonsense(tmp_path):
    array = store(tmp_path / "a", values("int8", (9, 80)), 4)
    for index in (9, -10, [0, 9], np.ones(8, bool), np.ones((9, 80), bool), 1.5, "x"):
        with pytest.raises(IndexError):
            array[index]
    assert len(list(array)) == len(array) == 9
    with pytest.raises(IndexError):
        Rows({"a": array}).read([0, 9])


@pytest.mark.parametrize("threads", [1, 3])
def test_rows_keep_the_order_asked_for(tmp_path, threads):
    columns = {"ids": values("int64", (41,)), "codes": values("int8", (41, 9, 40, 40)), "scales": values("float32", (41, 30))}
    arrays = {name: store(tmp_path / name, rows, 8, compress=name == "codes") for name, rows in columns.items()}
    reader = Rows(arrays, threads)
    asked = np.random.default_rng(1).integers(-41, 41, 60)
    for _ in range(2):
        found = reader.read(asked)
        for name, rows in columns.items():
            np.testing.assert_array_equal(found[name], rows[asked])
    assert reader.read([])["codes"].shape == (0, 9, 40, 40)
    assert len(reader) == 41


def test_rows_need_arrays_of_one_length(tmp_path):
    with pytest.raises(ValueError, match="one length"):
        Rows({"a": store(tmp_path / "a", values("int8", (3, 80)), 2), "b": store(tmp_path / "b", values("int8", (4, 80)), 2)})


def test_bytes_on_disk_do_not_depend_on_threads(tmp_path):
    rows = values("int8", (16, 3, 50, 50))
    for threads in (1, 4):
        store(tmp_path / str(threads), rows, 16, threads=threads)
    assert [f.read_bytes() for f in data_files(tmp_path / "1")] == [f.read_bytes() for f in data_files(tmp_path / "4")]


def test_each_file_is_checked_before_its_first_use(tmp_path):
    rows = values("int8", (6, 80))
    store(tmp_path / "a", rows, 2)
    seen: list[str] = []
    array = StoredArray(tmp_path / "a", lambda path: seen.append(path.relative_to(tmp_path).as_posix()))
    assert not seen
    array[5], array[4], array[0]
    assert seen == ["a/c/2/0", "a/c/0/0"]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """What earlier tests of the process still have open counts to what it may open, and would be closed, or close, first."""
    monkeypatch.setattr(files, "_everyone", WeakSet())


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_descriptors_are_bounded_and_given_back(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_FILES", 16)
    rows = values("int8", (40, 80))
    array = store(tmp_path / "a", rows, 1)
    gc.collect()  # garbage of earlier tests closes files too
    before = open_files()
    np.testing.assert_array_equal(array[...], rows)
    assert before < open_files() <= before + 16
    del array
    assert open_files() == before


def test_many_shards_stay_open_whatever_the_order_of_the_rows(tmp_path):
    rows = values("int8", (100, 80))
    store(tmp_path / "a", rows, 1)
    opened: list[Path] = []
    array = StoredArray(tmp_path / "a", opened.append)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(100)
        for row in order:
            np.testing.assert_array_equal(array[int(row)], rows[row])
    assert len(opened) == 100, "each shard is checked and opened once"


def test_the_shard_used_least_recently_is_closed_first(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_FILES", 4)
    store(tmp_path / "a", values("int8", (6, 80)), 1)
    opened: list[str] = []
    array = StoredArray(tmp_path / "a", lambda path: opened.append(path.parent.name))
    for row in (0, 1, 2, 3, 0, 4, 0, 5, 0, 1):
        array[row]
    assert opened == ["0", "1", "2", "3", "4", "5", "1"]


def test_arrays_share_what_the_process_may_open(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MOST_FILES", 12)
    arrays = {name: store(tmp_path / name, values("int8", (30, 80)), 1) for name in "abc"}
    arrays["a"][...]  # alone, it may have all
    assert len(arrays["a"]._files) == 12
    Rows(arrays, 1).read(np.arange(30))
    held = [len(array._files) for array in arrays.values()]
    assert sum(held) == 12 and max(held) - min(held) <= 2


def test_the_limit_of_the_process_counts():
    code = """
import resource
from fabloom.storage.format.files import MOST_FILES, most_files
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
assert most_files() == 16 < MOST_FILES
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_indexes_in_memory_are_bounded(tmp_path, monkeypatch):
    rows = values("int8", (20, 80))
    array = store(tmp_path / "a", rows, 2)
    monkeypatch.setattr(rows_module, "INDEX_BYTES", 3 * (2 * 16 + 4))
    for _ in range(2):
        np.testing.assert_array_equal(array[...], rows)
    assert len(array._indexes) == 3


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << (bit % 8)
    path.write_bytes(data)


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("shape", [(30,), (3,)], ids=["a row a chunk", "a block a chunk"])
def test_every_flipped_bit_is_found(tmp_path, compress, shape):
    rows = values("float32", (4, *shape))
    store(tmp_path / "a", rows, 4, compress=compress)
    (path,) = data_files(tmp_path / "a")
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 19):  # 19 is prime to 8: every byte, every bit position, data, index and checksums
        flip(path, bit)
        with pytest.raises(DamagedArtifact, match="c/0/0"):
            StoredArray(tmp_path / "a", None)[...]
        path.write_bytes(whole)
    for length in range(0, len(whole), 17):
        path.write_bytes(whole[:length])
        with pytest.raises(DamagedArtifact):
            StoredArray(tmp_path / "a", None)[...]
    path.write_bytes(whole + b"\0")
    with pytest.raises(DamagedArtifact):
        StoredArray(tmp_path / "a", None)[...]
    path.unlink()
    with pytest.raises(DamagedArtifact, match="missing"):
        StoredArray(tmp_path / "a", None)[...]


def test_damage_to_a_tensor_is_found(tmp_path):
    write_tensor(tmp_path / "t", values("float32", (6, 5)))
    (path,) = data_files(tmp_path / "t")
    whole = path.read_bytes()
    for bit in range(0, 8 * len(whole), 11):
        flip(path, bit)
        with pytest.raises(DamagedArtifact):
            StoredArray(tmp_path / "t", None)[...]
        path.write_bytes(whole)
    for damaged in (b"", whole[:-1], whole[:3], whole + bytes(1000)):
        path.write_bytes(damaged)
        with pytest.raises(DamagedArtifact):
            StoredArray(tmp_path / "t", None)[...]
    path.unlink()
    with pytest.raises(DamagedArtifact, match="missing"):
        StoredArray(tmp_path / "t", None)[...]


def test_a_damaged_row_is_named_and_its_neighbours_still_read(tmp_path):
    rows = values("int8", (6, 300))
    store(tmp_path / "a", rows, 3)
    flip(tmp_path / "a/c/1/0", 80)  # in the first chunk of the second shard
    array = StoredArray(tmp_path / "a", None)
    for reader in (lambda: array[3], lambda: Rows({"a": array}, 2).read([0, 3, 5])):
        with pytest.raises(DamagedArtifact, match=r"c/1/0', row 3: the checksum does not match"):
            reader()
    np.testing.assert_array_equal(array[[0, 1, 2, 4, 5]], rows[[0, 1, 2, 4, 5]])


def test_a_frame_that_decodes_to_another_size_is_refused(tmp_path):
    """Checksums that fit do not make a frame believable: its claimed size is held against the metadata."""
    small, large = RowSpec("int8", (100,)), RowSpec("int8", (100_000,))
    create_array(tmp_path / "a", small, 1, 1)
    write_shard(tmp_path / "b", 0, np.zeros((1, 100_000), np.int8), large, 1)
    (tmp_path / "a/c/0").mkdir(parents=True)
    (tmp_path / "b/c/0/0").rename(tmp_path / "a/c/0/0")
    with pytest.raises(DamagedArtifact, match="another size"):
        StoredArray(tmp_path / "a", None)[0]


def test_rows_that_were_never_written_are_damage_not_zeros(tmp_path):
    create_array(tmp_path / "a", RowSpec("int8", (80,)), 4, 4)
    with pytest.raises(DamagedArtifact, match="missing"):
        StoredArray(tmp_path / "a", None)[0]
    zarr.open_array(str(tmp_path / "a"), mode="r+")[1] = 1  # the other three rows get no chunk
    array = StoredArray(tmp_path / "a", None)
    assert array[1].all()
    with pytest.raises(DamagedArtifact, match="row 0"):
        array[...]


@pytest.mark.parametrize(
    "layout",
    [
        {"shards": None, "compressors": [ZstdCodec(), Crc32cCodec()]},
        {"shards": (4, 6), "compressors": [ZstdCodec()]},
        {"shards": (4, 6), "chunks": (1, 3), "compressors": [ZstdCodec(), Crc32cCodec()]},
        {"shards": (4, 6), "serializer": BytesCodec(endian="big"), "compressors": [Crc32cCodec()]},
        {"shards": (4, 6), "filters": [zarr.codecs.TransposeCodec(order=(1, 0))], "compressors": [Crc32cCodec()]},
    ],
    ids=["not sharded", "no checksum", "split rows", "big endian", "transposed"],
)
def test_other_layouts_are_named_and_left_to_zarr_python(tmp_path, layout):
    zarr.create_array(store=str(tmp_path / "a"), shape=(8, 6), dtype="int32", **{"chunks": (1, 6), **layout})
    with pytest.raises(DataError, match="zarr-python can read"):
        StoredArray(tmp_path / "a", None)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", "[" * 100_000])
def test_nonsense_metadata_is_one_clear_error(tmp_path, text):
    (tmp_path / "zarr.json").write_text(text)
    with pytest.raises((DamagedArtifact, DataError), match="zarr"):
        StoredArray(tmp_path, None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # forking with threads alive is the point
def test_a_reader_works_after_a_fork_and_opens_its_own_files(tmp_path):
    rows = values("int8", (12, 4, 300))
    array = store(tmp_path / "a", rows, 4)
    reader = Rows({"a": array}, 2)
    reader.read(np.arange(12).repeat(20))
    child = os.fork()
    if child == 0:
        same = np.array_equal(reader.read(np.arange(12).repeat(20))["a"], rows.repeat(20, 0))
        os._exit(0 if same and array._files._pid == os.getpid() else 1)
    assert os.waitpid(child, 0)[1] == 0
    np.testing.assert_array_equal(reader.read([1])["a"], rows[[1]])


def test_reading_needs_neither_zarr_nor_torch(tmp_path):
    store(tmp_path / "a", values("int8", (2, 80)), 2)
    code = f"""
import sys, pathlib
from fabloom.storage.format.arrays import Rows, StoredArray
Rows({{"a": StoredArray(pathlib.Path({str(tmp_path / "a")!r}), None)}}).read([1, 0])
sys.exit(" ".join(sorted(set(sys.modules) & {{"zarr", "torch", "prefect"}})) or 0)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
