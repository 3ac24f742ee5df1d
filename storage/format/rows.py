"""Reading arrays: the layouts that `arrays` writes, without zarr-python, verified chunk by chunk.

Nothing is believed: the crc32c of every shard index and of every chunk, the size of each file, and the size that a zstd frame
claims are all held against the metadata. What does not fit raises `DamagedArtifact`; there are no fill values. Reads are
`pread`s on descriptors that each process opens for itself, so a reader may be used before and after a fork and from several threads.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import google_crc32c
import numpy as np
import zstandard

from fabloom.errors import DamagedArtifact

from .files import OpenFile, OpenFiles
from .layout import read_layout
from .marks import shard_mark, tensor_mark

if TYPE_CHECKING:
    from numpy.typing import NDArray

INDEX_BYTES = 64 << 20
"""Shard indexes that one array keeps in memory, 16 bytes a chunk: enough for four million rows."""


class StoredArray:
    """A lazy array (`fabloom.artifacts.LazyArray`): shape and dtype from the metadata, indexing reads, verifies and returns numpy.

    `check(path)` is called before a data file is opened; it raises for a file that is not the one that was committed, and returns
    the mark that was committed with it, "" or None where none is known. `same()` is called after that, and raises where the whole
    artifact was replaced meanwhile. `metadata` is the content of `zarr.json` where the caller has read it.
    """

    def __init__(
        self,
        folder: Path,
        check: Callable[[Path], str | None] | None,
        metadata: bytes | None = None,
        same: Callable[[], None] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.layout = read_layout(self.folder, metadata)
        self._check, self._same = check, same
        self._files = OpenFiles()
        self._indexes: dict[int, NDArray[np.uint64]] = {}

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape, N first."""
        return self.layout.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of what indexing returns."""
        return self.layout.dtype

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("a 0-d array has no length")
        return self.shape[0]

    def __repr__(self) -> str:
        return f"StoredArray({self.folder.name}, {self.dtype}, {self.shape})"

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self[row] for row in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("an array in the store cannot be used without a copy")
        return np.asarray(self[...], dtype=dtype)

    def __getitem__(self, index: Any) -> Any:
        """Numpy indexing; only the rows that the first axis selects are read. Raises IndexError and DamagedArtifact."""
        first, rest = (index[0], index[1:]) if isinstance(index, tuple) and index else (index, ())
        if not self.layout.shard:
            return self._tensor()[index]
        if first is Ellipsis or first is None or isinstance(first, tuple):
            return self.take(np.arange(len(self)))[index]
        rows, local = self._selected(first)
        taken = self.take(rows)
        return taken[(local, *rest)] if rest or not isinstance(local, slice) else taken

    def _selected(self, first: Any) -> tuple[NDArray[np.int64], Any]:
        """Rows that the first index selects, and what selects the same among just those rows."""
        if isinstance(first, slice):
            return np.arange(*first.indices(len(self))), slice(None)
        chosen = np.asarray(first)
        if chosen.dtype == bool:
            if chosen.shape != (len(self),):
                raise IndexError(f"a mask of shape {chosen.shape} does not select among {len(self)} rows")
            chosen = np.flatnonzero(chosen)
        elif chosen.size == 0:
            chosen = chosen.astype(np.int64)
        rows = self.checked(chosen.reshape(-1))
        return rows, np.arange(len(rows)).reshape(chosen.shape) if chosen.ndim else 0

    def checked(self, rows: NDArray[Any]) -> NDArray[np.int64]:
        """Row numbers as int64, negative ones counted from the end. Raises IndexError."""
        if rows.dtype.kind not in "iu" or rows.ndim != 1:
            raise IndexError(f"rows are chosen by integers, slices or a mask, not {rows.dtype} {rows.shape}")
        found = rows.astype(np.int64)
        found[found < 0] += len(self)
        if len(found) and (found.min() < 0 or found.max() >= len(self)):
            row = int(rows[(found < 0) | (found >= len(self))][0])
            raise IndexError(f"row {row} is not among the {len(self)} rows of '{self.folder.name}'")
        return found

    def take(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """Rows [len(rows), ...], any order, each decoded into its place."""
        out = self.empty(len(rows))
        self.fill(out, rows, np.argsort(rows, kind="stable"))
        return out

    def empty(self, count: int) -> NDArray[Any]:
        """An uninitialised array for `count` rows."""
        return np.empty((count, *self.shape[1:]), self.dtype)

    def fill(self, out: NDArray[Any], rows: NDArray[np.int64], places: NDArray[np.intp]) -> None:
        """Decode `rows[place]` into `out[place]` for each place. Several threads may fill different places of one `out`."""
        layout = self.layout
        pixels = out.reshape(len(out), math.prod(self.shape[1:])).view(np.uint8)
        scratch = np.empty(layout.most_bytes if layout.compressed else 4, np.uint8)
        decoder = zstandard.ZstdDecompressor()  # serves one thread only
        if layout.chunk == 1:
            for place in places.tolist():
                self._decode(int(rows[place]), pixels[place], scratch, decoder)
            return
        held, current = np.empty((layout.chunk, layout.row_bytes), np.uint8), -1
        for place in places.tolist():
            chunk, row = divmod(int(rows[place]), layout.chunk)
            if chunk != current:
                self._decode(chunk, held.reshape(-1), scratch, decoder)
                current = chunk
            pixels[place] = held[row]

    def _decode(self, chunk: int, target: NDArray[np.uint8], scratch: NDArray[np.uint8], decoder: zstandard.ZstdDecompressor) -> None:
        """Read, verify and decode one inner chunk into `target`."""
        file, offset, size = self.place(chunk)
        stored = [scratch[:size]] if self.layout.compressed else [target, scratch]
        if not file.fill(stored, offset):
            raise self._damage(file.path, chunk, "the file is cut short")
        if self.layout.compressed:
            self._inflate(file.path, chunk, scratch[:size], target, decoder)
        elif not _matches(target, scratch):
            raise self._damage(file.path, chunk, "the checksum does not match")

    def place(self, chunk: int) -> tuple[Any, int, int]:
        """The open file of an inner chunk, and where in it the chunk lies: offset and size. Raises DamagedArtifact for no such place."""
        layout = self.layout
        number, slot = divmod(chunk, layout.shard // layout.chunk)
        file = self._file(number)
        offset, size = self._index(number, file)[slot].tolist()
        end = file.size - (layout.shard // layout.chunk * 16 + 4)
        if offset + size > end or size > layout.most_bytes or (not layout.compressed and size != layout.raw_bytes + 4):
            raise self._damage(file.path, chunk, "the chunk is missing, or does not lie in the shard")
        return file, offset, size

    def _inflate(
        self, path: Path, chunk: int, stored: NDArray[np.uint8], target: NDArray[np.uint8], decoder: zstandard.ZstdDecompressor
    ) -> None:
        """Check and decompress a stored chunk straight into `target`, never past its end."""
        frame = stored[:-4]
        if not _matches(frame, stored[-4:]):
            raise self._damage(path, chunk, "the checksum does not match")
        try:
            with decoder.stream_reader(frame.data) as stream:
                whole = stream.readinto(target.data) == len(target) and not stream.read(1)
        except zstandard.ZstdError as error:
            raise self._damage(path, chunk, str(error)) from error
        if not whole:
            raise self._damage(path, chunk, "the chunk decodes to another size")

    def _damage(self, path: Path, chunk: int, what: str) -> DamagedArtifact:
        rows = f"row {chunk}" if self.layout.chunk == 1 else f"rows {chunk * self.layout.chunk} to {(chunk + 1) * self.layout.chunk - 1}"
        return DamagedArtifact(f"'{path}', {rows if self.layout.shard else 'tensor'}: {what}. Run `fabloom verify`.")

    def _file(self, number: int) -> OpenFile:
        return self._files.get(number, lambda: self._opened(number))

    def _opened(self, number: int) -> OpenFile:
        path = self._shard_path(number)
        file = OpenFile(path, (self._check(path) if self._check is not None else None) or "")
        if self._same is not None:
            self._same()
        return file

    def _shard_path(self, number: int) -> Path:
        return self.folder.joinpath("c", str(number), *["0"] * (len(self.shape) - 1))

    def _tensor_path(self) -> Path:
        return self.folder.joinpath("c", *["0"] * len(self.shape))

    def marks(self) -> dict[Path, str]:
        """{data file: its mark}, for who commits them. Raises DamagedArtifact for a shard whose index is not sound."""
        if not self.layout.shard:
            return {self._tensor_path(): tensor_mark(self._tensor_path())} if math.prod(self.shape) else {}
        paths = [self._shard_path(number) for number in range(-(-len(self) // self.layout.shard))]
        return {path: shard_mark(file, self._stored_index(file)) for path in paths for file in [OpenFile(path)]}

    def _index(self, number: int, file: OpenFile) -> NDArray[np.uint64]:
        """(offset, size) of each chunk of a shard, read once; the first read of them are dropped above `INDEX_BYTES`."""
        found = self._indexes.get(number)
        if found is None:
            stored = self._stored_index(file)
            if file.mark and shard_mark(file, stored) != file.mark:
                raise DamagedArtifact(f"'{file.path}' is another file than was committed there. Run `fabloom verify`.")
            found = stored[:-4].view("<u8").reshape(-1, 2)
            self._indexes[number] = found
            for old in list(self._indexes)[: -max(1, INDEX_BYTES // len(stored))]:
                self._indexes.pop(old, None)
        return found

    def _stored_index(self, file: OpenFile) -> NDArray[np.uint8]:
        """A shard's index and its crc32c, which matches."""
        stored = np.empty(self.layout.shard // self.layout.chunk * 16 + 4, np.uint8)
        if not file.size >= len(stored) or not file.fill([stored], file.size - len(stored)) or not _matches(stored[:-4], stored[-4:]):
            raise DamagedArtifact(f"'{file.path}': the shard index is damaged or cut short. Run `fabloom verify`.")
        return stored

    def _tensor(self) -> NDArray[Any]:
        """The whole of an unsharded array."""
        out = np.empty(self.shape, self.dtype)
        if not out.size:
            return out
        path = self._tensor_path()
        stored, mark = self._whole(path)
        if mark and stored[-4:].tobytes().hex() != mark:
            raise self._damage(path, 0, "it is another one than was committed there, or damaged")
        self.decode(path, 0, stored, out.reshape(-1).view(np.uint8), zstandard.ZstdDecompressor())
        return out

    def decode(
        self, path: Path, chunk: int, stored: NDArray[np.uint8], target: NDArray[np.uint8], decoder: zstandard.ZstdDecompressor
    ) -> None:
        """Verify a chunk, its checksum at its end, and put what it holds into `target`. Raises DamagedArtifact."""
        if self.layout.compressed:
            self._inflate(path, chunk, stored, target, decoder)
        elif len(stored) != len(target) + 4 or not _matches(stored[:-4], stored[-4:]):
            raise self._damage(path, chunk, "the checksum does not match")
        else:
            target[:] = stored[:-4]

    def _whole(self, path: Path) -> tuple[NDArray[np.uint8], str | None]:
        """The file of a tensor, and the mark that was committed with it."""
        mark = self._check(path) if self._check is not None else None
        try:
            self._check_size(path, path.stat().st_size)
            stored = np.fromfile(path, np.uint8)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise self._damage(path, 0, "the file is missing") from error
        if self._same is not None:
            self._same()
        return stored, mark

    def _check_size(self, path: Path, size: int) -> None:
        if not 4 < size <= self.layout.most_bytes:
            raise self._damage(path, 0, f"{size} bytes cannot be this tensor")


def _matches(data: NDArray[np.uint8], checksum: NDArray[np.uint8]) -> bool:
    return int(google_crc32c.value(data)) == int.from_bytes(checksum.tobytes(), "little")
