"""Reading an artifact where it lies: rows by range requests, each chunk verified, nothing kept on this machine."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import zstandard

from fabloom.errors import DamagedArtifact
from fabloom.storage.commit.reader import GROUP, ArtifactReader
from fabloom.storage.format.rows import StoredArray

from .bucket import GAP, Bucket, together

if TYPE_CHECKING:
    from numpy.typing import NDArray

SMALL = 64 << 10
"""Bytes of an object that is fetched whole, with all its like, as soon as an array is asked for: a network has hundreds of tensors."""
MOST_SMALL = 32 << 20
"""Bytes of small objects that a reader keeps in memory; above, only metadata are fetched ahead."""
PORTION = 32 << 20
"""Stored bytes that one reading has in memory at once."""


class Source:
    """The objects of one upload: they may go, but never change. Raises DamagedArtifact for one that is not there."""

    def __init__(self, bucket: Bucket, key: str, folder: str, files: Mapping[str, Sequence[Any]]) -> None:
        self.bucket, self.key, self.folder = bucket, key, folder
        self.files = {name: int(size) for name, (size, _) in files.items()}
        self._held: dict[str, bytes] | None = None

    def piece(self, name: str, offset: int, size: int) -> Any:
        """Bytes of an object."""
        return self.pieces(name, [offset], [size])[0]

    def pieces(self, name: str, offsets: Sequence[int], sizes: Sequence[int]) -> list[Any]:
        """The same for several places at once."""
        if self._held is not None and name in self._held:
            return [memoryview(self._held[name])[offset : offset + size] for offset, size in zip(offsets, sizes, strict=True)]
        found = self.bucket.ranges(f"{self.folder}/{name}", offsets, sizes)
        if found is None:
            raise self.gone(name)
        return found

    def hold_small(self) -> None:
        """Fetch what is small, many at a time."""
        if self._held is not None:
            return
        small = [name for name, size in self.files.items() if 0 < size <= SMALL]
        if sum(self.files[name] for name in small) > MOST_SMALL:
            small = [name for name in small if name.endswith(GROUP)]
        found = together(lambda name: self.bucket.ranges(f"{self.folder}/{name}", [0], [self.files[name] + 1]), small)
        self._held = {name: bytes(pieces[0]) for name, pieces in zip(small, found, strict=True) if pieces}

    def gone(self, name: str) -> DamagedArtifact:
        """What is said of an object that is not there."""
        return DamagedArtifact(
            f"artifact {self.key[:12]}: '{name}' is not in '{self.bucket.url}' any more: removed, or made again since it was opened. "
            f"Run again; `fabloom verify {self.key[:12]}` says whether it is damaged."
        )


class ObjectFile:
    """What `OpenFile` is on a disk: reads at an offset. `size` and `mark` are what was committed."""

    def __init__(self, source: Source, path: Path, size: int, mark: str) -> None:
        self.source, self.path, self.size, self.mark = source, path, size, mark
        self.name = PurePosixPath(path).relative_to(source.folder).as_posix()

    def fill(self, targets: list[Any], offset: int) -> bool:
        """Read into the buffers from `offset`; False if the object ends before they are full."""
        wanted = sum(len(target) for target in targets)
        found = np.frombuffer(self.source.piece(self.name, offset, wanted), np.uint8)
        if len(found) != wanted:
            return False
        for target in targets:
            target[...], found = found[: len(target)], found[len(target) :]
        return True


class ObjectArray(StoredArray):
    """A lazy array whose rows come by range requests: those of a batch together, a shard in one call."""

    def __init__(self, source: Source, name: str, metadata: bytes, marks: Mapping[str, str]) -> None:
        super().__init__(Path(source.folder, name), None, metadata)
        self._source, self._marks = source, marks

    def fill(self, out: NDArray[Any], rows: NDArray[np.int64], places: NDArray[np.intp]) -> None:
        """As `StoredArray.fill`, `places` in the order of their rows. At most `PORTION` stored bytes are in memory, with those of gaps."""
        layout = self.layout
        pixels = out.reshape(len(out), math.prod(self.shape[1:])).view(np.uint8)
        decoder = zstandard.ZstdDecompressor()  # serves one thread only
        held = np.empty((layout.chunk, layout.row_bytes), np.uint8)
        chunks, begins = np.unique(rows[places] // layout.chunk, return_index=True)
        takers = dict(zip(chunks.tolist(), np.split(places, begins[1:]), strict=True))
        fetched = np.cumsum(np.minimum(np.diff(chunks, prepend=chunks[:1]), 1 - (-GAP // layout.most_bytes)))  # in chunks, gaps included
        cuts = np.flatnonzero(np.diff(fetched // max(1, PORTION // layout.most_bytes))) + 1
        for portion in np.split(chunks, cuts):
            for chunk, path, stored in self._stored(portion.tolist()):
                self.decode(path, chunk, stored, held.reshape(-1), decoder)
                pixels[takers[chunk]] = held[rows[takers[chunk]] % layout.chunk]

    def _stored(self, chunks: list[int]) -> Iterator[tuple[int, Path, NDArray[np.uint8]]]:
        """Inner chunks as they lie there: several shards at a time, the chunks of one in one call."""
        per = self.layout.shard // self.layout.chunk
        shards: dict[int, list[int]] = {}
        for chunk in chunks:
            shards.setdefault(chunk // per, []).append(chunk)

        def fetch(number: int) -> tuple[ObjectFile, list[Any]]:
            spots = [self.place(chunk) for chunk in shards[number]]
            file: ObjectFile = spots[0][0]
            return file, self._source.pieces(file.name, [offset for _, offset, _ in spots], [size for _, _, size in spots])

        for number, (file, pieces) in zip(shards, together(fetch, list(shards)), strict=True):
            for chunk, piece in zip(shards[number], pieces, strict=True):
                yield chunk, file.path, np.frombuffer(piece, np.uint8)

    def _opened(self, number: int) -> Any:
        return self._file_at(self._shard_path(number))

    def _file_at(self, path: Path) -> ObjectFile:
        name = PurePosixPath(path).relative_to(self._source.folder).as_posix()
        if name not in self._source.files:
            raise DamagedArtifact(f"artifact {self._source.key[:12]}: '{name}' is not in its manifest")
        return ObjectFile(self._source, path, self._source.files[name], self._marks.get(name, ""))

    def _whole(self, path: Path) -> tuple[NDArray[np.uint8], str | None]:
        file = self._file_at(path)
        self._check_size(path, file.size)
        stored = np.frombuffer(self._source.piece(file.name, 0, file.size), np.uint8)
        if len(stored) != file.size:
            raise self._damage(path, 0, f"{len(stored)} bytes instead of {file.size}")
        return stored, file.mark


class ObjectReader(ArtifactReader):
    """A committed artifact in a bucket. Metadata are hashed, data compared by size and mark, and each chunk carries a crc32c."""

    def __init__(self, bucket: Bucket, manifest: Mapping[str, Any], folder: str) -> None:
        super().__init__(manifest["key"], manifest["digest"], None, Path(folder), manifest["files"], manifest["marks"])
        self._source = Source(bucket, self.key, folder, manifest["files"])

    def array(self, name: str) -> ObjectArray | None:
        """The array, or None where the artifact has none of that name."""
        if name not in self._committed:
            return None
        self._source.hold_small()
        return ObjectArray(self._source, name, self._checked(f"{name}/{GROUP}"), self._marks)

    def raw(self, name: str) -> Iterator[Any]:
        """The bytes of a stored object, as they are, in pieces; none where there is no object."""
        return self._source.bucket.stream(f"{self._source.folder}/{name}")

    def copy(self, name: str, target: Path) -> None:
        """Put the bytes of a stored object at `target`."""
        self._write(name, target)

    def _content(self, name: str, size: int) -> bytes | None:
        found = self._source.pieces(name, [0], [size + 1])
        return bytes(found[0])
