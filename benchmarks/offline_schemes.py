"""Ways to store teacher data, behind one face: `write(folder, columns)` and `open_reader(folder)(rows) -> {name: [B, ...]}`.

    python benchmarks/offline_schemes.py SCHEME FOLDER     seconds to the first batch of 64 random rows, in a fresh interpreter

Imports stay inside the functions, so that the time to the first batch counts each scheme's own; numpy and fabloom itself are
there beforehand, as they are in any program that trains with it.
"""

from __future__ import annotations

import importlib.util
import io
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Columns = dict[str, Any]
Reader = Callable[[Any], Columns]
BLOCK = 64
NOISE = ("x_T", "sample_id", "rin0_scale", "r_chunks_scale")


@dataclass(frozen=True)
class Scheme:
    """`missing` says why a scheme cannot run here; `published` schemes hold percentile codes with float16 scales, the others ours."""

    label: str
    write: Callable[[Path, Columns], None]
    open_reader: Callable[[Path], Reader]
    published: bool = False
    missing: str = ""


def _stack(samples: list[Columns]) -> Columns:
    import numpy as np

    return {name: np.stack([sample[name] for sample in samples]) for name in samples[0]}


def write_files(folder: Path, columns: Columns) -> None:
    """The published scheme: np.savez in memory, zstd level 3, a file a sample."""
    import numpy as np
    import zstandard

    folder.mkdir(parents=True)
    compressor = zstandard.ZstdCompressor(level=3)
    for row in range(len(columns["sample_id"])):
        buffer = io.BytesIO()
        np.savez(buffer, **{name: values[row] for name, values in columns.items()})
        (folder / f"sample_{row:08d}.zst").write_bytes(compressor.compress(buffer.getbuffer()))


def open_files(folder: Path) -> Reader:
    import numpy as np
    import zstandard

    names = sorted(folder.glob("*.zst"))
    decompressor = zstandard.ZstdDecompressor()

    def sample(row: int) -> Columns:
        with np.load(io.BytesIO(decompressor.decompress(names[row].read_bytes()))) as archive:
            return dict(archive)

    return lambda rows: _stack([sample(int(row)) for row in rows])


def _spec(name: str, values: Any) -> Any:
    from fabloom.kinds import RowSpec

    return RowSpec(str(values.dtype), values.shape[1:], compress=name not in NOISE)


def ours(threads: int) -> tuple[Callable[[Path, Columns], None], Callable[[Path], Reader]]:
    def write(folder: Path, columns: Columns) -> None:
        from fabloom.storage.format.arrays import create_array, create_group, write_shard

        create_group(folder, {})
        for name, values in columns.items():
            spec = _spec(name, values)
            create_array(folder / name, spec, len(values), BLOCK)
            for start in range(0, len(values), BLOCK):
                write_shard(folder / name, start // BLOCK, values[start : start + BLOCK], spec, BLOCK, threads)

    def open_reader(folder: Path) -> Reader:
        from fabloom.storage.format.arrays import Rows, StoredArray

        return Rows({path.name: StoredArray(path, None) for path in sorted(folder.iterdir()) if path.is_dir()}, threads).read

    return write, open_reader


def through_zarr(pipeline: str) -> tuple[Callable[[Path, Columns], None], Callable[[Path], Reader]]:
    """zarr-python over the very layout of ours. The pipeline is bound when an array object is made."""
    setting = {"codec_pipeline.path": f"zarr.core.codec_pipeline.{pipeline}"}

    def write(folder: Path, columns: Columns) -> None:
        import zarr

        from fabloom.storage.format.arrays import create_array

        for name, values in columns.items():
            create_array(folder / name, _spec(name, values), len(values), BLOCK)
            with zarr.config.set(setting):
                zarr.open_array(str(folder / name), mode="r+")[...] = values

    def open_reader(folder: Path) -> Reader:
        import numpy as np
        import zarr

        with zarr.config.set(setting):
            arrays = {path.name: zarr.open_array(str(path), mode="r") for path in sorted(folder.iterdir()) if path.is_dir()}
        slow_lists = tuple(int(part) for part in zarr.__version__.split(".")[:2]) < (3, 3)  # lists are 20 times slower than a loop there

        def rows_of(array: Any, rows: Any) -> Any:
            if len(rows) > 1 and (np.diff(rows) == 1).all():
                return array[int(rows[0]) : int(rows[-1]) + 1]
            return np.stack([array[int(row)] for row in rows]) if slow_lists else array.oindex[rows]

        return lambda rows: {name: rows_of(array, rows) for name, array in arrays.items()}

    return write, open_reader


def _note_layout(folder: Path, columns: Columns) -> None:
    folder.mkdir(parents=True)
    layout = {name: [str(values.dtype), list(values.shape)] for name, values in columns.items()}
    (folder / "layout.json").write_text(json.dumps(layout))


def write_lmdb(folder: Path, columns: Columns) -> None:
    import lmdb
    import zstandard

    _note_layout(folder, columns)
    compressor = zstandard.ZstdCompressor(level=3)
    with lmdb.open(str(folder / "data.mdb"), subdir=False, map_size=1 << 36) as database, database.begin(write=True) as change:
        for row in range(len(columns["sample_id"])):
            record = b"".join(values[row].tobytes() for values in columns.values())
            change.put(row.to_bytes(8, "big"), compressor.compress(record))


def open_lmdb(folder: Path) -> Reader:
    import lmdb
    import numpy as np
    import zstandard

    layout = json.loads((folder / "layout.json").read_text())
    decompressor = zstandard.ZstdDecompressor()
    database = lmdb.open(str(folder / "data.mdb"), subdir=False, readonly=True, lock=False, map_size=1 << 36)

    def sample(record: bytes) -> Columns:
        columns, offset = {}, 0
        for name, (dtype, shape) in layout.items():
            count = int(np.prod(shape[1:]))
            columns[name] = np.frombuffer(record, dtype, count, offset).reshape(shape[1:])
            offset += columns[name].nbytes
        return columns

    def read(rows: Any) -> Columns:
        with database.begin(buffers=True) as look:
            return _stack([sample(decompressor.decompress(look.get(int(row).to_bytes(8, "big")))) for row in rows])

    return read


def write_memmap(folder: Path, columns: Columns) -> None:
    _note_layout(folder, columns)
    for name, values in columns.items():
        values.tofile(folder / f"{name}.raw")


def open_memmap(folder: Path) -> Reader:
    import numpy as np

    layout = json.loads((folder / "layout.json").read_text())
    maps = {name: np.memmap(folder / f"{name}.raw", dtype, "r", shape=tuple(shape)) for name, (dtype, shape) in layout.items()}
    return lambda rows: {name: np.asarray(values[rows]) for name, values in maps.items()}


def schemes() -> dict[str, Scheme]:
    """Every scheme by its short name; the file-per-sample scheme, the reference of all ratios, comes first."""
    import zarr
    import zarr.core.codec_pipeline as pipelines

    fused = "" if hasattr(pipelines, "FusedCodecPipeline") else f"zarr {zarr.__version__} has none (newer zarr needs Python 3.12)"
    lmdb = "" if importlib.util.find_spec("lmdb") else "lmdb is not installed (extra `bench`)"
    return {
        "files": Scheme("file per sample, npz + zstd 3", write_files, open_files, published=True),
        "ours1": Scheme("fabloom, 1 thread", *ours(1)),
        "ours2": Scheme("fabloom, 2 threads", *ours(2)),
        "zarr": Scheme("zarr-python, default pipeline", *through_zarr("BatchedCodecPipeline")),
        "fused": Scheme("zarr-python, fused pipeline", *through_zarr("FusedCodecPipeline"), missing=fused),
        "lmdb": Scheme("LMDB, zstd 3 values, no checksums", write_lmdb, open_lmdb, missing=lmdb),
        "memmap": Scheme("np.memmap, raw (the limit)", write_memmap, open_memmap),
    }


OPENERS: dict[str, Callable[[Path], Reader]] = {
    "files": open_files,
    "ours1": ours(1)[1],
    "ours2": ours(2)[1],
    "zarr": through_zarr("BatchedCodecPipeline")[1],
    "fused": through_zarr("FusedCodecPipeline")[1],
    "lmdb": open_lmdb,
    "memmap": open_memmap,
}


def first_batch(scheme: str, folder: Path) -> float:
    """Seconds to import, open and read 64 scattered rows."""
    import numpy as np

    import fabloom  # noqa: F401

    rows = np.random.default_rng(0).permutation(64)
    start = time.perf_counter()
    OPENERS[scheme](folder)(rows)
    return time.perf_counter() - start


if __name__ == "__main__":
    print(first_batch(sys.argv[1], Path(sys.argv[2])))
