"""Wafer maps from files: MixedWM38 and WM-811K as converted, die for die, and what is refused before it is read."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from fabloom import ImageSet
from fabloom.errors import DataError
from fabloom.pipeline import Pipeline
from fabloom.planning.plan import make_plan
from fabloom.plugins.data.wafer_map.archive import Archive
from fabloom.plugins.data.wafer_map.encoding import decoded, nearest, padded
from fabloom.plugins.data.wafer_map.method import WaferMap
from fabloom.plugins.data.wafer_map.params import LoadParams
from fabloom.plugins.data.wafer_map.types import CODES, TYPES
from fabloom.registry import Registry
from fabloom.storage.backends.local import LocalStore

SIDES = [(6, 21), (25, 27), (40, 30), (26, 26), (52, 52), (9, 9)]


def mixed(path: Path, **changed: Any) -> dict[str, np.ndarray]:
    """A file as MixedWM38 is, two maps of each of its 38 types, of 12 x 12 dies."""
    draw = np.random.default_rng(0)
    patterns = np.array([[pattern in members for pattern in CODES] for members in TYPES.values()] * 2, np.int32)
    arrays = {"arr_0": draw.integers(0, 3, (len(patterns), 12, 12)).astype(np.int32), "arr_1": patterns} | changed
    np.savez_compressed(path, **arrays)
    return arrays


def converted(path: Path, **changed: Any) -> list[np.ndarray]:
    """A file as the conversion of WM-811K writes it: maps of several sizes, the last of them unlabelled."""
    draw = np.random.default_rng(1)
    maps = [draw.integers(0, 3, sides).astype(np.uint8) for sides in SIDES]
    arrays = {
        "values": np.concatenate([one.ravel() for one in maps]),
        "shapes": np.array(SIDES, np.uint16),
        "labels": np.array([0, 1, 1, 2, 0, -1], np.int8),
        "classes": np.array(["none", "Scratch", "Edge-Ring"]),
        "lots": np.array(["lot1", "lot1", "lot2", "lot2", "lot3", "lot3"]),
        "names": np.array([f"wafer{number}" for number in range(6)]),
        "parts": np.array(["Training", "Test", "Training", "Test", "Test", ""]),
    } | changed
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return maps


@pytest.fixture
def load(run_task: Any) -> Any:
    def run(path: Path, *, seed: int = 0, **params: Any) -> ImageSet:
        return run_task(WaferMap, "load", {"path": str(path), **params}, seed=seed)

    return run


def test_a_map_that_is_padded_keeps_every_die(tmp_path: Path, load: Any) -> None:
    maps = converted(tmp_path / "wm.npz")
    images = load(tmp_path / "wm.npz", fit="pad", size=52)
    assert images.images.shape == (5, 2, 52, 52) and images.masks is None
    for codes, found in zip(maps[:5], decoded(images.images[...]), strict=True):
        above, left = ((52 - side) // 2 for side in codes.shape)
        inside = np.zeros((52, 52), bool)
        inside[above : above + codes.shape[0], left : left + codes.shape[1]] = True
        assert np.array_equal(found[inside].reshape(codes.shape), codes)
        assert not found[~inside].any()
    assert [images.class_names[label] for label in images.labels[...]] == ["none", "Scratch", "Scratch", "Edge-Ring", "none"]
    assert images.class_names == list(TYPES)[:9]
    assert images.domain[...].tolist() == [0, 1, 1, 1, 0]
    assert [images.source_names[at] for at in images.source[...]] == ["lot1", "lot1", "lot2", "lot2", "lot3"]


def test_a_map_that_is_stretched_has_dies_of_the_wafer_alone(tmp_path: Path, load: Any) -> None:
    maps = converted(tmp_path / "wm.npz")
    for size in (8, 26, 64):
        found = decoded(load(tmp_path / "wm.npz", size=size).images[...])
        for codes, one in zip(maps[:5], found, strict=True):
            rows, columns = ([int((place + 0.5) * side / size) for place in range(size)] for side in codes.shape)
            assert np.array_equal(one, [[codes[row, column] for column in columns] for row in rows])
    # a control: a mean of dies, as of grey levels, makes passing ones where there were none
    pair = np.array([[0, 2]], np.uint8).repeat(2, 0)
    assert set(nearest(pair, 8).ravel().tolist()) == {0, 2} and pair.mean(1).tolist() == [1, 1]
    assert np.array_equal(nearest(maps[3], 26), maps[3]) and np.array_equal(padded(maps[3], 26), maps[3])


def test_mixedwm38_as_published(tmp_path: Path, load: Any) -> None:
    arrays = mixed(tmp_path / "mixed.npz")
    images = load(tmp_path / "mixed.npz", size=12)
    assert np.array_equal(decoded(images.images[...]), arrays["arr_0"])
    assert images.class_names == list(TYPES) and images.labels[...].tolist() == [*range(38)] * 2
    assert images.domain[...].sum() == 74 and images.attrs["repaired"] == 0
    assert images.attrs["patterns"]["D+ER+L+S"] == ["Donut", "Edge-Ring", "Loc", "Scratch"]
    assert images.source_names[7] == "map 7" and images.attrs["counts"]["Random"] == 2


def test_an_illegal_three_is_a_fail_and_is_said(tmp_path: Path, load: Any) -> None:
    arrays = mixed(tmp_path / "mixed.npz")
    dies = arrays["arr_0"].copy()
    dies[6, :2] = dies[44, 3, 3] = 3
    mixed(tmp_path / "odd.npz", arr_0=dies)
    images = load(tmp_path / "odd.npz", size=12)
    found = decoded(images.images[...])
    assert images.attrs["repaired"] == 2
    assert (found[dies == 3] == 2).all() and np.array_equal(found[dies != 3], dies[dies != 3])


def test_maps_are_chosen_by_class_part_and_seed(tmp_path: Path, load: Any) -> None:
    path = tmp_path / "mixed.npz"
    mixed(path)
    images = load(path, size=12, classes=["none", "C+EL"], per_class=1)
    assert sorted(images.class_names[label] for label in images.labels[...]) == ["C+EL", "none"]
    chosen = [load(path, size=12, count=9, seed=seed) for seed in (0, 1)]
    rows = [[one.source_names[at] for at in one.source[...]] for one in chosen]
    assert len(rows[0]) == 9 and rows[0] != rows[1]
    assert all(names == sorted(names, key=lambda name: int(name.split()[1])) for names in rows)
    converted(tmp_path / "wm.npz")
    few = {"path": tmp_path / "wm.npz", "size": 16}
    assert load(**few, split="test", source="wafer").source_names == ["wafer1", "wafer3", "wafer4"]
    unlabelled = load(**few, labelled=False)
    assert len(unlabelled) == 1 and unlabelled.labels is None and unlabelled.domain is None and not unlabelled.class_names


def test_a_large_map_is_refused_or_left_out_by_the_one_that_pads(tmp_path: Path, load: Any) -> None:
    converted(tmp_path / "wm.npz")
    with pytest.raises(DataError, match=r"2 maps have more than size=30 dies along a side, up to 52; raise size"):
        load(tmp_path / "wm.npz", fit="pad", size=30)
    images = load(tmp_path / "wm.npz", fit="pad", size=30, too_large="skip")
    assert len(images) == 3 and images.attrs["too_large"] == 2


def test_a_plan_knows_how_many_maps_and_refuses_before_anything_runs(tmp_path: Path, store: LocalStore) -> None:
    mixed(tmp_path / "mixed.npz")
    step = {"task": "wafer-map.load", "params": {"path": str(tmp_path / "mixed.npz"), "classes": ["none", "C+EL+L"]}}
    registry = Registry.load()
    plan = make_plan(Pipeline.model_validate({"name": "wafers", "steps": {"maps": step}}), registry, store)
    outline = WaferMap.expect(plan.steps[0], {})
    assert outline is not None and outline.arrays["images"] == ((4, 2, 52, 52), "uint8") and "masks" not in outline.arrays
    (tmp_path / "mixed.npz").write_bytes(b"PK not at all")
    with pytest.raises(Exception, match=r"steps\.maps\.params.*damaged, or no npz file"):
        make_plan(Pipeline.model_validate({"name": "wafers", "steps": {"maps": step}}), registry, store)


class Bomb:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path("ran").touch, ())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"arr_0": np.array([Bomb()], object)}, "arr_0 holds pickled Python objects, which are never loaded"),
        ({"arr_0": np.zeros((3, 12), np.int32)}, r"arr_0 is \[3, 12\] of int32, where \[N, N, N\]"),
        ({"arr_1": np.zeros((5, 8), np.int32)}, r"arr_1 is \[5, 8\]"),
        ({"arr_1": np.ones((76, 8), np.int32)}, r"row 0 of arr_1 is \[1, 1, 1, 1, 1, 1, 1, 1\], none of the 38 types"),
        ({"arr_1": np.full((76, 8), 0.5)}, "none of the 38 types"),
        ({"arr_0": np.full((76, 12, 12), 4)}, "map 0 holds 4; a die is 0"),
        ({"arr_0": np.full((76, 12, 12), 1.5)}, "map 0 holds 1.5"),
        ({"arr_0": np.full((76, 12, 12), 258)}, "map 0 holds 258"),
        ({"arr_0": np.asfortranarray(np.ones((76, 12, 12)))}, "arr_0 is stored column by column"),
        ({"arr_0": np.zeros((76, 12, 12), "M8[s]")}, "arr_0 holds datetime64"),
        ({"arr_0": np.zeros((76, 12, 2000), np.int8)}, "maps of 1 to 1024 dies a side"),
    ],
)
def test_what_mixedwm38_is_not_is_refused(
    tmp_path: Path, load: Any, changed: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    mixed(tmp_path / "mixed.npz", **changed)
    with pytest.raises(DataError, match=message) as error:
        load(tmp_path / "mixed.npz", size=12)
    assert "mixed.npz" in str(error.value) and not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"values": np.zeros(10, np.uint8)}, r"values is \[10\] of uint8"),
        ({"shapes": np.zeros((6, 2), np.uint16)}, "shapes must be those of maps of 1 to 1024"),
        ({"shapes": np.full((6, 2), 2**63, np.uint64)}, "shapes must be those of maps of 1 to 1024"),
        ({"labels": np.full(6, 3, np.int8)}, "labels run from 3 to 3, and there are 3 classes"),
        ({"classes": np.array(["none", "Scratch", "Blob"])}, "a class is called 'Blob'; known are none, Center"),
        ({"lots": np.array(["x" * 300] * 6)}, "texts of up to 256 letters"),
        ({"lots": np.array([0xD800] * 6, "<u4").view("<U1")}, "letters that do not exist"),
        ({"parts": None}, "wanted are arr_0 and arr_1"),
    ],
)
def test_what_the_conversion_does_not_write_is_refused(tmp_path: Path, load: Any, changed: dict[str, Any], message: str) -> None:
    converted(tmp_path / "wm.npz", **changed)
    with pytest.raises(DataError, match=message):
        load(tmp_path / "wm.npz", size=12)


def header(shape: tuple[int, ...]) -> bytes:
    """The first bytes of an npy file of float64."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return file.getvalue()


def test_a_bomb_is_refused_by_what_it_says_of_itself(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("arr_0.npy", bytes(5 << 20))
    assert path.stat().st_size < 10_000
    with pytest.raises(DataError, match=r"are 5 MiB when decompressed, more than max_mib=4; raise max_mib"), Archive.opened(path, 4 << 20):
        pass
    with Archive.opened(path, 5 << 20) as archive, pytest.raises(DataError, match="arr_0 is no array"):
        archive.header("arr_0")


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (header((1 << 40,)) + bytes(8), "its size says otherwise"),
        (header((-2, -3)) + bytes(48), r"says it is \[-2, -3\]"),
        (header((3,)) + bytes(16), "its size says otherwise"),
        (b"\x93NUMPY\x03\x00" + bytes(20), "version"),
        (b"\x93NUMPY\x01\x00\x76\x00" + b"(" * 118, "no array that can be read"),
        (b"", "no array that can be read"),
    ],
)
def test_a_header_that_lies_is_refused_before_its_array_is_made(tmp_path: Path, member: bytes, message: str) -> None:
    with zipfile.ZipFile(tmp_path / "lies.npz", "w") as file:
        file.writestr("a.npy", member)
    with Archive.opened(tmp_path / "lies.npz", 1 << 20) as archive, pytest.raises(DataError, match=message):
        archive.whole("a")


def test_a_damaged_byte_is_found_though_few_maps_are_wanted(tmp_path: Path, load: Any) -> None:
    arrays = mixed(tmp_path / "whole.npz")
    path = tmp_path / "mixed.npz"
    np.savez(path, **arrays)
    wanted = {"size": 12, "classes": ["none"], "per_class": 1}
    assert len(load(path, **wanted)) == 1
    found = bytearray(path.read_bytes())
    found[arrays["arr_0"].nbytes - 40] ^= 1  # in the last maps of arr_0, none of which is a clean one
    path.write_bytes(found)
    with pytest.raises(DataError, match=r"arr_0 is damaged \(Bad CRC-32.*download or convert it again"):
        load(path, **wanted)
    for cut in (100, len(found) // 2):
        path.write_bytes(found[:cut])
        with pytest.raises(DataError, match="damaged, or no npz file"):
            load(path, **wanted)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"classes": ["Centre"]}, "no class is called 'Centre'; there are none, Center"),
        ({"classes": ["none"], "labelled": False}, "leave out classes"),
        ({"per_class": 3, "labelled": False}, "give count instead"),
        ({"too_large": "skip"}, "no meaning for fit: nearest"),
    ],
)
def test_choices_that_contradict_each_other_are_refused(params: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LoadParams.model_validate({"path": "maps.npz", **params})


def test_choices_that_leave_nothing_say_what_there_is(tmp_path: Path, load: Any) -> None:
    converted(tmp_path / "wm.npz")
    with pytest.raises(DataError, match="no map is left of 1 unlabelled, 2 none, 1 Edge-Ring, 2 Scratch"):
        load(tmp_path / "wm.npz", classes=["Donut"])
    mixed(tmp_path / "mixed.npz")
    with pytest.raises(DataError, match="MixedWM38 has no training part"):
        load(tmp_path / "mixed.npz", split="training")
