from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fabloom
from fabloom.errors import DataError
from fabloom.kinds import Artifact, Fields, RowSpec
from fabloom.storage.backends.local import LocalStore
from fabloom.testing import MemoryStore, tiny_fields, write_artifact
from fabloom.testing.method.checks import problems

NAMES: dict[str, Any] = {"units": ["nm", "nm"], "channel_names": ["overlay_x", "overlay_y"]}
VALUES = np.random.default_rng(0).normal(0, 3, (150, 2, 5, 7)).astype(np.float32)
VALID = np.random.default_rng(1).random((150, 5, 7)) < 0.8


def holes() -> np.ndarray:
    """Values with NaN and infinity where nothing was measured."""
    given = VALUES.copy()
    given[np.broadcast_to(~VALID[:, None], given.shape)] = np.nan
    given[0, 0, ~VALID[0]] = np.inf
    return given


def write(values: Any = VALUES, store: Any = None, **more: Any) -> Fields:
    made = write_artifact(store or MemoryStore(), lambda ctx: Fields.write(ctx, values, **{**NAMES, **more}))
    assert isinstance(made, Fields)
    return made


def refused(*words: str, values: Any = VALUES, **more: Any) -> None:
    with pytest.raises(DataError) as caught:
        write(values, **more)
    for word in words:
        assert word in str(caught.value)


def batches(array: np.ndarray, size: int) -> Iterator[np.ndarray]:
    return (array[start : start + size] for start in range(0, len(array), size))


def test_maps_come_back_with_their_units() -> None:
    made = write(valid=VALID, attrs={"tool": "A"}, source=np.zeros(150, np.int32), source_names=["lot.csv"])
    assert len(made) == 150 and made.units == ["nm", "nm"] and made.channel_names == ["overlay_x", "overlay_y"]
    assert made.values.dtype == np.float32 and made.valid.dtype == np.uint8 and made.attrs["tool"] == "A"
    assert made.source_names == ["lot.csv"] and made.origins([3])["source"].tolist() == [0]
    np.testing.assert_array_equal(made.values[...], np.where(VALID[:, None], VALUES, 0))
    np.testing.assert_array_equal(made.valid[...], VALID)
    assert write().valid[...].all() and problems(made) == []


def test_what_is_not_measured_is_zero_whatever_was_given() -> None:
    assert write(holes(), valid=VALID).digest == write(VALUES, valid=VALID).digest
    assert np.isfinite(write(holes(), valid=VALID.astype(np.uint8)).values[...]).all()


def test_nan_where_valid_is_refused_with_its_place() -> None:
    given = VALUES.copy()
    given[100, 1, 2, 3] = np.nan
    refused("map 100, channel 1", "nan", "row 2, column 3", "np.isfinite", values=given)
    refused("inf", values=holes()[:1])


@pytest.mark.parametrize("count", [None, 150])
def test_batches_give_the_bytes_of_the_array(count: int | None, tmp_path: Path) -> None:
    whole = write(VALUES, LocalStore(tmp_path / "a"), valid=VALID)
    parts = write(batches(VALUES, 37), LocalStore(tmp_path / "b"), valid=batches(VALID, 11), count=count)
    assert parts.digest == whole.digest != ""


def test_with_a_count_no_more_than_a_block_is_held() -> None:
    taken: list[int] = []

    class Watched:
        """A staging whose writer notes how many maps had been asked for at each append."""

        def __init__(self, staging: Any) -> None:
            self.inner, self.attrs, self.seen = staging, staging.attrs, list[int]()

        def rows(self, *what: Any) -> Any:
            writer = self.inner.rows(*what)
            append = writer.append
            writer.append = lambda rows: (self.seen.append(sum(taken)), append(rows))[1]
            return writer

        def as_reader(self) -> Any:
            return self.inner.as_reader()

    def asked() -> Iterator[np.ndarray]:
        for part in batches(VALUES, 16):
            taken.append(len(part))
            yield part

    def make(ctx: Any) -> Artifact:
        watched = Watched(ctx.staging)
        ctx = type("Held", (), {"staging": watched})()
        made = Fields.write(ctx, asked(), count=150, **NAMES)
        assert watched.seen[0] <= Fields.BLOCK + 16 and watched.seen[-1] == 150
        return made

    assert len(write_artifact(MemoryStore(), make).array("values")) == 150


def test_what_does_not_fit_is_refused() -> None:
    refused("float32", "float64", values=VALUES.astype(np.float64))
    refused("N,C,H,W", values=VALUES[0])
    refused("no maps", values=iter(()))
    refused("2 channels", "1 channel_names", channel_names=["overlay_x"])
    refused("'x' twice", channel_names=["x", "x"])
    refused("unit of channel 'overlay_y'", units=["nm", ""])
    refused("valid must be bool", "(64, 5, 7)", valid=VALID[:, :3])
    refused("valid must be bool", valid=np.full((150, 5, 7), 2, np.uint8))
    refused("valid holds more maps", values=VALUES[:128], valid=iter([VALID]))
    refused("valid must be bool", valid=VALID[:140])
    refused("150 maps came, but count says 160", values=batches(VALUES, 10), count=160)
    refused("more than 100 maps", values=batches(VALUES, 10), count=100)
    refused("belong together", source=np.zeros(150, np.int32))


def test_the_kind_is_known_and_opens_in_xarray(tmp_path: Path) -> None:
    import xarray

    store = LocalStore(tmp_path)
    made = write_artifact(store, tiny_fields)
    assert fabloom.Fields is Fields is type(store.get(made.key)) and problems(made) == []
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = xarray.open_dataset(store.folder(made.key) / "data.zarr", engine="zarr", consolidated=False, chunks=None)
    assert dict(found.sizes) == {"sample": 6, "channel": 2, "y": 24, "x": 24}
    assert 0 < float(found["valid"].mean()) < 1, "values and valid share their axes, so they multiply by name"
    np.testing.assert_array_equal((found["values"] * found["valid"]).values, np.asarray(made.array("values")))


def test_the_kit_finds_what_write_would_have_refused() -> None:
    def broken(ctx: Any) -> Artifact:
        ctx.staging.put("values", np.full((2, 2, 3, 3), np.nan, np.float32))
        ctx.staging.put("valid", np.zeros((2, 3, 3), np.uint8))
        ctx.staging.attrs.update({"units": ["nm"], "channel_names": ["x", "y"]})
        return Fields(ctx.staging.as_reader())

    told = " ".join(problems(write_artifact(MemoryStore(), broken)))
    assert "values are not 0 where valid is 0" in told and "NaN" in told and "1 units" in told


def test_a_kind_that_is_derived_brings_arrays_of_its_own_and_each_is_checked() -> None:
    row, heights = RowSpec("float32", (3,), dims=("place",), units="nm"), np.arange(450, dtype=np.float32).reshape(150, 3)
    made = write(beside={"heights": (row, heights)})
    assert np.array_equal(made.array("heights")[...], heights)
    for wrong in (heights[:9], heights.astype(np.float64), heights[:, :2]):
        refused("heights must be float32 (150, 3)", beside={"heights": (row, wrong)})
