"""What `zarr.json` says of an array, for the layouts that `arrays` writes; parsed without zarr-python."""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fabloom.errors import DamagedArtifact, DataError

METADATA = "zarr.json"

WHOLE = ("bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
DTYPES = frozenset([*WHOLE, "float16", "float32", "float64", "complex64", "complex128"])


@dataclass(frozen=True)
class Layout:
    """What `zarr.json` says. `shard` and `chunk` count rows; `shard` is 0 for a whole tensor in one chunk."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    shard: int
    chunk: int
    compressed: bool
    dims: tuple[str, ...] = ()
    """Names of the axes."""

    @property
    def row_bytes(self) -> int:
        """Bytes of one decoded row."""
        return self.dtype.itemsize * math.prod(self.shape[1:])

    @property
    def raw_bytes(self) -> int:
        """Bytes of one decoded chunk."""
        return self.chunk * self.row_bytes if self.shard else self.dtype.itemsize * math.prod(self.shape)

    @property
    def most_bytes(self) -> int:
        """The most a stored chunk can take, checksum included: zstd stores what it cannot shrink."""
        return self.raw_bytes + 4 + (self.raw_bytes // 128 + 512 if self.compressed else 0)


def read_layout(folder: Path, metadata: bytes | None = None) -> Layout:
    """Parse `folder/zarr.json`, or `metadata`, its content, where it was read already.

    Raises DamagedArtifact for no JSON, DataError for a layout that fabloom does not write.
    """
    path = folder / METADATA
    try:
        meta = json.loads(path.read_bytes() if metadata is None else metadata)
    except (OSError, ValueError, RecursionError) as error:
        raise DamagedArtifact(f"'{path}' cannot be read: {error}. Run `fabloom verify`.") from error
    try:
        return _layout(meta)
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        raise DataError(
            f"'{folder}' is not in the layout fabloom writes ({error}); zarr-python can read any zarr array: zarr.open_array('{folder}')"
        ) from error


def _layout(meta: Any) -> Layout:
    _expect(meta["zarr_format"] == 3 and meta["node_type"] == "array", "no zarr v3 array")
    _expect(meta["data_type"] in DTYPES, f"data type {meta['data_type']!r}")
    _expect(meta["chunk_grid"]["name"] == "regular" and not meta.get("storage_transformers"), "chunk grid")
    _expect(meta["chunk_key_encoding"]["name"] == "default", "chunk key encoding")
    _expect(meta["chunk_key_encoding"].get("configuration", {}).get("separator", "/") == "/", "chunk key separator")
    shape = tuple(operator.index(length) for length in meta["shape"])
    _expect(all(length >= 0 for length in shape), "negative length")
    grid = tuple(meta["chunk_grid"]["configuration"]["chunk_shape"])
    codecs, dtype = meta["codecs"], np.dtype(meta["data_type"])
    if codecs[0]["name"] != "sharding_indexed":
        _expect(grid == tuple(max(length, 1) for length in shape), "a tensor in several chunks")
        return Layout(shape, dtype, 0, 0, _compressed(codecs, dtype))
    _expect(len(codecs) == 1 and bool(shape), "codecs around the shard")
    config = codecs[0]["configuration"]
    inner = tuple(config["chunk_shape"])
    _expect(config.get("index_location", "end") == "end", "shard index at the start")
    _expect([codec["name"] for codec in config["index_codecs"]] == ["bytes", "crc32c"], "shard index codecs")
    _expect(config["index_codecs"][0]["configuration"]["endian"] == "little", "shard index byte order")
    _expect(grid[1:] == inner[1:] == shape[1:] and inner[0] > 0 and grid[0] % inner[0] == 0, "chunks that split rows")
    _expect(0 not in shape[1:], "empty rows")
    dims = tuple(map(str, meta.get("dimension_names") or ()))
    return Layout(shape, dtype, operator.index(grid[0]), operator.index(inner[0]), _compressed(config["codecs"], dtype), dims)


def _compressed(codecs: Sequence[Any], dtype: np.dtype[Any]) -> bool:
    names = [codec["name"] for codec in codecs]
    _expect(names in (["bytes", "zstd", "crc32c"], ["bytes", "crc32c"]), f"codecs {names}")
    _expect(dtype.itemsize == 1 or codecs[0]["configuration"]["endian"] == "little", "byte order")
    return "zstd" in names


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)
