"""Metadata is zarr-python's own, made once for arrays that differ in lengths and names only. Costs are counted, never timed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec
from zarr.storage import MemoryStore

from fabloom.hashing import canonical_json
from fabloom.kinds import Model, RowSpec
from fabloom.method import Context
from fabloom.storage.backends.local import LocalStore
from fabloom.storage.commit import reader
from fabloom.storage.format import arrays
from fabloom.storage.format.arrays import axes, create_array, rows_per_chunk, write_tensor
from fabloom.storage.format.layout import DTYPES

QUICK = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LENGTHS = st.lists(st.integers(1, 70), max_size=4).map(tuple)


def by_zarr(compress: bool, **layout: Any) -> bytes:
    """The metadata of one array, made by zarr-python for it alone."""
    made: dict[str, Any] = {}
    compressors = [ZstdCodec(level=1), Crc32cCodec()] if compress else [Crc32cCodec()]
    zarr.create_array(store=MemoryStore(made), serializer=BytesCodec(), compressors=compressors, fill_value=0, **layout)
    return canonical_json(json.loads(made["zarr.json"].to_bytes()))


@QUICK
@given(dtype=st.sampled_from(sorted(DTYPES)), shape=st.lists(st.integers(0, 70), max_size=4).map(tuple), attrs=st.booleans())
def test_the_metadata_of_a_tensor_is_zarr_pythons_to_the_byte(tmp_path: Path, dtype: str, shape: tuple[int, ...], attrs: bool) -> None:
    given_ = {"scale": [1, 2.5], "of": {"a": "net"}} if attrs else {}
    folder = tmp_path / str(len(list(tmp_path.iterdir()))) / "t.weight"
    write_tensor(folder, np.zeros(shape, dtype), given_)
    chunks = tuple(max(length, 1) for length in shape)
    names = axes("t.weight", len(shape))
    expected = by_zarr(True, shape=shape, dtype=dtype, chunks=chunks, dimension_names=names, attributes=given_)
    assert (folder / "zarr.json").read_bytes() == expected


@QUICK
@given(
    dtype=st.sampled_from(sorted(DTYPES)), shape=LENGTHS, count=st.integers(1, 99), block=st.integers(1, 9),
    compress=st.booleans(), named=st.booleans(),
)  # fmt: skip
def test_the_metadata_of_rows_is_zarr_pythons_to_the_byte(
    tmp_path: Path, dtype: str, shape: tuple[int, ...], count: int, block: int, compress: bool, named: bool
) -> None:
    dims = tuple("cyxk"[: len(shape)]) if named else ()
    spec = RowSpec(dtype, shape, compress, dims)
    create_array(tmp_path / "rows", spec, count, block)
    expected = by_zarr(
        compress, shape=(count, *shape), dtype=dtype, chunks=(rows_per_chunk(spec, block), *shape), shards=(block, *shape),
        dimension_names=("sample", *(dims or axes("rows", len(shape)))),
    )  # fmt: skip
    assert (tmp_path / "rows" / "zarr.json").read_bytes() == expected


def committed(store: LocalStore, count: int) -> Model:
    key = f"{count:040x}"
    context = Context(staging=store.stage(key), seed=0, workdir=store.work(key))
    Model.write(context, {f"block.{i}.weight": torch.full((3, 2), float(i), dtype=torch.bfloat16) for i in range(count)}, {})
    context.staging.commit(store.folder(key), {"kind": "Model", "preimage": {"task": "kinds.images", "inputs": {}}})
    model = store.get(key)
    assert isinstance(model, Model)
    return model


def test_many_tensors_of_one_layout_ask_zarr_once(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    create = zarr.create_array
    monkeypatch.setattr(zarr, "create_array", lambda **given: asked.append(given) or create(**given))
    arrays._template.cache_clear()
    committed(store, 30)
    assert len(asked) == 1


def test_a_state_reads_each_metadata_file_once_and_its_table_of_names_once(store: LocalStore, monkeypatch: pytest.MonkeyPatch) -> None:
    model = committed(store, 40)
    read: list[str] = []
    whole = reader.read_regular
    monkeypatch.setattr(reader, "read_regular", lambda path, most: read.append(path.parent.name) or whole(path, most))

    class Counted(dict[str, Any]):
        walks = 0

        def __iter__(self) -> Any:
            Counted.walks += 1
            return super().__iter__()

    model._reader._files = Counted(model._reader._files)  # type: ignore[attr-defined]
    state = model.state()
    assert Counted.walks <= 1
    assert sorted(read) == sorted([*(f"block.{i}.weight" for i in range(40)), "data.zarr"])
    assert all(torch.equal(state[f"block.{i}.weight"], torch.full((3, 2), float(i), dtype=torch.bfloat16)) for i in range(40))
