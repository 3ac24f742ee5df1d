"""Writing arrays: plain zarr v3 on disk, encoded by a hot path of our own.

zarr-python makes the metadata, so it is right by construction; the bytes of shards and tensors are written here. Row-wise arrays
are sharded: one shard holds one block of rows, and an inner chunk holds

* one row, so that a random read decodes nothing it does not need;
* the whole block where a row is smaller than `SMALL_ROW` bytes (ids, labels), where an index entry would outweigh its row.

A shard is its chunks in order, then the index (offset, size) as little-endian u64 with 2^64-1 for entries that are not there,
then the index's crc32c. Every chunk ends with its own crc32c: zstd alone passes a flipped bit in silence. Rows that are all zero
are written like any other, so a missing chunk always means damage. N is declared once and never resized.
"""

from __future__ import annotations

import functools
import json
import math
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
import zstandard

from fabloom.hashing import canonical_json
from fabloom.kinds import RowSpec

from .batches import Rows
from .layout import METADATA
from .rows import StoredArray

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Rows", "StoredArray", "create_array", "create_group", "write_shard", "write_synced", "write_tensor"]

SMALL_ROW = 64
"""Rows below this many bytes share one inner chunk a shard."""

LEVEL = 1
"""zstd level: int8 activations come out the same size at 1, 3 and 9, since only the entropy coder finds anything."""

FLUSH_BYTES = 8 << 20
"""Bytes of a file after which it is flushed to the disk on the side."""

MISSING = 2**64 - 1


def rows_per_chunk(spec: RowSpec, block: int) -> int:
    """Rows in one inner chunk: 1, or the whole block for rows below `SMALL_ROW` bytes."""
    payload = np.dtype(spec.dtype).itemsize * math.prod(spec.shape)
    return block if payload < SMALL_ROW else 1


def axes(name: str, count: int) -> list[str]:
    """Names for axes that nobody named: xarray opens a group only where every axis has a name and equal names have equal lengths."""
    return [f"{name}.{axis}" for axis in range(count)]


def create_group(folder: Path, attrs: Mapping[str, Any]) -> None:
    """Write `folder/zarr.json` for a group with JSON attributes: canonical, so that equal attributes give equal bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / METADATA).write_bytes(canonical_json({"attributes": dict(attrs), "node_type": "group", "zarr_format": 3}))


def create_array(folder: Path, spec: RowSpec, count: int, block: int) -> None:
    """Write `folder/zarr.json` for `count` rows in shards of `block` rows; shards that are already there stay."""
    _write_metadata(
        folder,
        spec.compress,
        shape=(count, *spec.shape),
        dtype=spec.dtype,
        chunks=(rows_per_chunk(spec, block), *spec.shape),
        shards=(block, *spec.shape),
        dimension_names=("sample", *(spec.dims or axes(folder.name, len(spec.shape)))),
    )


def write_tensor(folder: Path, value: NDArray[Any], attrs: Mapping[str, Any] | None = None) -> None:
    """Write a whole array of any shape, also 0-d or empty, as one compressed chunk with a crc32c.

    Unlike a shard it is not fsynced: a tensor survives no kill before its commit, which fsyncs every file once.
    """
    value = np.asarray(value)
    chunk = tuple(max(length, 1) for length in value.shape)
    layout: dict[str, Any] = {
        "shape": value.shape,
        "dtype": value.dtype.name,
        "chunks": chunk,
        "dimension_names": axes(folder.name, value.ndim),
    }
    _write_metadata(folder, True, **layout, attributes=dict(attrs or {}))
    if value.size:
        encoded = zstandard.ZstdCompressor(level=LEVEL).compress(_little(value).reshape(-1).view(np.uint8).data)
        path = folder.joinpath("c", *["0"] * value.ndim)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.writelines((encoded, _checksum(encoded)))


def write_shard(folder: Path, index: int, rows: NDArray[Any], spec: RowSpec, block: int, threads: int = 2) -> Path:
    """Encode rows [<=block, *spec.shape] as shard `index`, fsync it under its final name and return its path.

    Only the last shard of an array may hold fewer than `block` rows. The bytes do not depend on `threads`.
    Raises ValueError for rows of another dtype or shape.
    """
    rows = np.asarray(rows)
    if str(rows.dtype) != spec.dtype or rows.shape[1:] != spec.shape or not 1 <= len(rows) <= block:
        wanted = f"1 to {block} rows {spec.dtype} {spec.shape}"
        raise ValueError(f"shard {index} of '{folder.name}' takes {wanted}, not {rows.dtype} {rows.shape}")
    payload = _little(rows).reshape(len(rows), -1).view(np.uint8)
    if rows_per_chunk(spec, block) > 1:
        whole = np.zeros((block, payload.shape[1]), np.uint8)
        whole[: len(rows)] = payload
        payload, entries = whole.reshape(1, -1), 1
    else:
        entries = block
    path = folder.joinpath("c", str(index), *["0"] * len(spec.shape))
    with ExitStack() as stack:
        chunks: Iterable[Any] = payload
        if spec.compress:
            chunks = _compressed(payload, stack, threads)
        write_synced(path, _shard_pieces(chunks, entries))
    return path


def _compressed(payload: NDArray[np.uint8], stack: ExitStack, threads: int) -> Iterable[bytes]:
    """Frames of the rows, in order. One-shot frames carry their content size; a compressor serves one thread only."""
    local = threading.local()

    def encode(row: NDArray[np.uint8]) -> bytes:
        if not hasattr(local, "compressor"):
            local.compressor = zstandard.ZstdCompressor(level=LEVEL)
        frame: bytes = local.compressor.compress(row.data)
        return frame

    if threads < 2 or len(payload) < 2:
        return map(encode, payload)
    return stack.enter_context(ThreadPoolExecutor(threads, "fabloom-encode")).map(encode, payload)


def _shard_pieces(chunks: Iterable[Any], entries: int) -> Iterator[Any]:
    """The bytes of a shard, piece by piece: chunks with their crc32c, then the index with its own."""
    table = np.full((entries, 2), MISSING, "<u8")
    offset = 0
    for slot, chunk in enumerate(chunks):
        table[slot] = (offset, len(chunk) + 4)
        offset += len(chunk) + 4
        yield chunk
        yield _checksum(chunk)
    yield table.tobytes()
    yield _checksum(table.tobytes())


def _little(value: NDArray[Any]) -> NDArray[Any]:
    """C-contiguous and little-endian, without a copy where it already is."""
    return np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))


def _checksum(data: Any) -> bytes:
    return int(google_crc32c.value(data)).to_bytes(4, "little")


def write_synced(path: Path, pieces: Iterable[Any]) -> None:
    """Write and fsync. A long file is flushed on the side while the rest is still being encoded, so that the last fsync is short."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file, ThreadPoolExecutor(1, "fabloom-flush") as side:
        unflushed, flushes = 0, []
        for piece in pieces:
            unflushed += file.write(piece)
            if unflushed >= FLUSH_BYTES:
                file.flush()
                flushes.append(side.submit(os.fsync, file.fileno()))
                unflushed = 0
        file.flush()
        os.fsync(file.fileno())
        for flush in flushes:
            flush.result()  # the kernel tells an error once, to whichever fsync asks first


def _write_metadata(folder: Path, compress: bool, *, shape: Sequence[int], dtype: str, chunks: Sequence[int], **layout: Any) -> None:
    """`zarr.json` in canonical form: what zarr-python makes for such an array, with this one's lengths, names and attributes."""
    shards, names = layout.get("shards"), layout["dimension_names"]
    meta = json.loads(_template(dtype, len(shape), compress, shards is not None))
    meta["shape"] = list(shape)
    meta["attributes"] = json.loads(json.dumps(layout.get("attributes", {})))
    meta["chunk_grid"]["configuration"]["chunk_shape"] = list(shards or chunks)
    if shards is not None:
        meta["codecs"][0]["configuration"]["chunk_shape"] = list(chunks)
    if names:
        meta["dimension_names"] = list(names)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / METADATA).write_bytes(canonical_json(meta))


@functools.cache
def _template(dtype: str, ndim: int, compress: bool, sharded: bool) -> bytes:
    """zarr-python's metadata of an array of ones: it takes 2 ms, and between arrays of a model only lengths and names differ.

    Made in memory, since creating over a folder would empty it.
    """
    import zarr
    from zarr.codecs import BytesCodec, Crc32cCodec, ZstdCodec
    from zarr.storage import MemoryStore

    store: dict[str, Any] = {}
    ones = (1,) * ndim
    zarr.create_array(
        store=MemoryStore(store), shape=ones, dtype=dtype, chunks=ones, shards=ones if sharded else None, dimension_names=axes("", ndim),
        serializer=BytesCodec(), compressors=[ZstdCodec(level=LEVEL), Crc32cCodec()] if compress else [Crc32cCodec()], fill_value=0,
    )  # fmt: skip
    made: bytes = store[METADATA].to_bytes()
    return made
