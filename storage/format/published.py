"""The published container of teacher data of denoising circuits: one file a sample, a NumPy archive in a zstd stream.

`sample_00000007.zst` holds x_T_f16, x0_teacher_f16 [C,H,W], rin0_q int8 [L,h,w] with rin0_scale_f16 [L], r_chunks_q int8 [K,L,h,w] with
r_chunks_scale_f16 [K,L], T and chunk_size int16 [1]; chunk 0 is the noisiest. Nothing is unpickled, and no file is read past a limit.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray

from fabloom.errors import DataError

LEVEL = 10
"""Of the zstd stream, as published."""
ARRAYS: dict[str, tuple[str, str, int]] = {
    "x_T": ("x_T_f16", "float16", 3),
    "x0": ("x0_teacher_f16", "float16", 3),
    "rin0": ("rin0_q", "int8", 3),
    "rin0_scale": ("rin0_scale_f16", "float16", 1),
    "r_chunks": ("r_chunks_q", "int8", 4),
    "r_chunks_scale": ("r_chunks_scale_f16", "float16", 2),
}
"""Our names to the archive's, with type and axes of each."""
NAME = re.compile(r"sample_(\d+)\.zst")

Row = dict[str, NDArray[Any]]


def file_name(number: int) -> str:
    """Of the sample of this number."""
    return f"sample_{number:08d}.zst"


def numbered(folder: Path) -> list[tuple[int, Path]]:
    """(number, file) of the samples in a folder, in the order of their numbers. Raises DataError for none, and for a number twice."""
    found = sorted((int(match[1]), path) for path in folder.iterdir() if (match := NAME.fullmatch(path.name)) and path.is_file())
    if not found:
        raise DataError(f"'{folder.name}' holds no file sample_NUMBER.zst")
    for (number, path), (following, other) in pairwise(found):
        if number == following:
            raise DataError(f"'{path.name}' and '{other.name}' are both sample {number}; remove one")
    return found


def encoded(row: Mapping[str, NDArray[Any]], timesteps: int, chunk_size: int) -> bytes:
    """A sample as it lies in a file. Raises DataError for a scale that is 0 or infinite in float16."""
    arrays: Row = {}
    for name, (theirs, kind, _) in ARRAYS.items():
        arrays[theirs] = np.asarray(row[name]).astype(kind)
        if name.endswith("_scale") and not ((arrays[theirs] > 0) & np.isfinite(arrays[theirs])).all():
            raise DataError(f"a scale of {name} leaves float16, which the published format stores them in; record with scale_floor=0.01")
    arrays |= {"T": np.array([timesteps], np.int16), "chunk_size": np.array([chunk_size], np.int16)}
    archive = io.BytesIO()
    np.savez(archive, **arrays)  # type: ignore[arg-type]
    return zstandard.ZstdCompressor(level=LEVEL, write_checksum=True).compress(archive.getvalue())


def decoded(path: Path, most: int) -> tuple[Row, int, int]:
    """(arrays by our names, T, chunk_size) of a file, of which no more than `most` bytes are decompressed, twice.

    Raises DataError that names the file, for one that is damaged, larger than that, or of other arrays.
    """
    try:
        with path.open("rb") as file, zstandard.ZstdDecompressor(max_window_size=2**27).stream_reader(file) as stream:
            packed = stream.read(most + 1)
        if len(packed) > most:
            raise DataError(f"'{path.name}' holds more than {most:,} bytes; raise max_mib if that is meant")
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > most:
                raise DataError(f"'{path.name}' holds more than {most:,} bytes; raise max_mib if that is meant")
            held = {name: _array(archive, name) for name in [theirs for theirs, _, _ in ARRAYS.values()] + ["T", "chunk_size"]}
    except DataError:
        raise
    except KeyError as error:
        raise DataError(f"'{path.name}' has no array {error.args[0]}: it is no teacher data of denoising circuits") from error
    except (zstandard.ZstdError, zipfile.BadZipFile, ValueError, OSError, EOFError) as error:
        raise DataError(f"'{path.name}' is damaged or no archive in zstd: {error}") from error
    for theirs, kind, axes in ARRAYS.values():
        array = held[theirs]
        if array.dtype != np.dtype(kind) or array.ndim != axes:
            raise DataError(f"'{path.name}': {theirs} is {array.dtype} of {array.ndim} axes, not {kind} of {axes}")
        if kind == "float16" and not np.isfinite(array).all():
            raise DataError(f"'{path.name}': {theirs} has NaN or infinity")
    sizes = [held[name] for name in ("T", "chunk_size")]
    if any(size.dtype.kind not in "iu" or size.size != 1 or int(size.ravel()[0]) < 1 for size in sizes):
        raise DataError(f"'{path.name}': T and chunk_size must be one positive whole number each")
    timesteps, chunk_size = (int(size.ravel()[0]) for size in sizes)
    row = {name: held[theirs] for name, (theirs, _, _) in ARRAYS.items()}
    _fits(path.name, row)
    return row, timesteps, chunk_size


def _array(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    try:
        entry = archive.open(f"{name}.npy")
    except KeyError as error:
        raise KeyError(name) from error
    with entry:
        found: NDArray[Any] = np.lib.format.read_array(entry, allow_pickle=False)
    return found


def _fits(name: str, row: Row) -> None:
    latent, chunks = row["rin0"].shape, row["r_chunks"].shape
    wanted = {"x0": row["x_T"].shape, "rin0_scale": latent[:1], "r_chunks_scale": chunks[:2], "r_chunks": (chunks[0], *latent)}
    for array, shape in wanted.items():
        if row[array].shape != shape:
            raise DataError(f"'{name}': {ARRAYS[array][0]} is {list(row[array].shape)}, the others want {list(shape)}")
