"""Arrays of an npz file, which is a zip of npy files: read within bounds, row after row where they are large, and never unpickled.

What a member says of itself is held against a limit before a byte of it is decompressed, and its header against its size before an
array is made. A member is read forward and to its end, so that its checksum counts even where few rows are wanted.
"""

from __future__ import annotations

import sys
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError

STEP = 1 << 20
"""Bytes decompressed at a time where rows are passed over."""
KINDS = "biufU"
"""Sorts of numpy types that are read: numbers, booleans and text; no objects, records or dates."""
LONGEST = 256
"""Letters of a text at most."""
DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, OSError)
"""What reading raises where bytes are wrong or missing. They are caught around reads alone: a full disk is no damaged file."""
PLAIN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class Header:
    """What a member is: its dtype, and its shape in C order."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


class Archive:
    """An opened npz file. Every method raises DataError that names the file for what is damaged, too large, or no array."""

    def __init__(self, path: Path, file: zipfile.ZipFile) -> None:
        self.path = path
        self._file = file
        self.names = {entry.filename.removesuffix(".npy") for entry in file.infolist()}

    @classmethod
    @contextmanager
    def opened(cls, path: Path, most: int) -> Iterator[Archive]:
        """The file, whose arrays are `most` bytes together at most when decompressed."""
        try:
            file = zipfile.ZipFile(path)
        except (*DAMAGED, NotImplementedError) as error:
            raise DataError(f"{path}: damaged, or no npz file ({error}); download or convert it again") from error
        with file:
            size = sum(entry.file_size for entry in file.infolist())
            if size > most:
                told = f"{size / 2**20:,.0f} MiB when decompressed, more than max_mib={most >> 20}"
                raise DataError(f"{path}: its arrays are {told}; raise max_mib if that is meant")
            yield cls(path, file)

    def header(self, name: str) -> Header:
        """What an array is, by its first bytes."""
        with self._member(name) as (_, found):
            return found

    def whole(self, name: str) -> NDArray[Any]:
        """A small array at once."""
        with self._member(name) as (stream, found):
            taken = self._taken(stream, name, found.dtype.itemsize * prod(found.shape))
        if found.dtype.kind == "U":
            letters = np.frombuffer(taken, found.dtype.str[0] + "u4")
            if ((letters > sys.maxunicode) | ((letters >= 0xD800) & (letters < 0xE000))).any():
                raise DataError(f"{self.path}: {name} holds letters that do not exist; download or convert it again")
        return np.frombuffer(taken, found.dtype).reshape(found.shape)

    def pieces(self, name: str, spans: Sequence[tuple[int, int]]) -> Iterator[NDArray[Any]]:
        """Values [start, end) of an array as if it had one axis, for spans that follow each other; one is held at a time."""
        with self._member(name) as (stream, found):
            at, width = 0, found.dtype.itemsize
            for start, end in (*spans, (prod(found.shape), prod(found.shape))):
                while at < start:
                    step = min(start - at, max(1, STEP // width))
                    self._taken(stream, name, step * width)
                    at += step
                if end > start:
                    yield np.frombuffer(self._taken(stream, name, (end - start) * width), found.dtype)
                    at = end

    @contextmanager
    def _member(self, name: str) -> Iterator[tuple[IO[bytes], Header]]:
        """An array's bytes behind its header, which fits them."""
        try:
            entry = self._file.getinfo(f"{name}.npy")
        except KeyError:
            raise DataError(f"{self.path}: has no array {name}; it holds {', '.join(sorted(self.names)[:8]) or 'nothing'}") from None
        if entry.compress_type not in PLAIN:
            raise DataError(f"{self.path}: {name} is compressed in a way that numpy does not write; save it with numpy.savez_compressed")
        try:
            opened = self._file.open(entry)
        except (*DAMAGED, RuntimeError) as error:  # a password, says zipfile with a RuntimeError
            raise DataError(f"{self.path}: {name} cannot be read ({error}); download or convert it again") from error
        with opened as stream:
            found = self._header(stream, name)
            size = found.dtype.itemsize * prod(found.shape)
            if stream.tell() + size != entry.file_size:
                raise DataError(f"{self.path}: {name} says it is {list(found.shape)} of {found.dtype}, and its size says otherwise")
            yield stream, found

    def _header(self, stream: IO[bytes], name: str) -> Header:
        try:
            version = np.lib.format.read_magic(stream)
            read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
            if read is None:
                raise ValueError(f"version {version} of the format")
            shape, fortran, dtype = read(stream)
        except Exception as error:  # a header is Python's own text, and its parsers raise whatever they meet
            raise DataError(f"{self.path}: {name} is no array that can be read ({str(error)[:80]})") from error
        if dtype.hasobject:
            raise DataError(f"{self.path}: {name} holds pickled Python objects, which are never loaded; save an array of numbers")
        if dtype.kind not in KINDS or not 0 < dtype.itemsize <= 4 * LONGEST:
            raise DataError(f"{self.path}: {name} holds {dtype}; numbers and texts of up to {LONGEST} letters are read")
        if min(shape, default=0) < 0:
            raise DataError(f"{self.path}: {name} says it is {list(shape)}; download or convert it again")
        if fortran and sum(side > 1 for side in shape) > 1:
            raise DataError(f"{self.path}: {name} is stored column by column; save numpy.ascontiguousarray of it")
        return Header(dtype, shape)

    def _taken(self, stream: IO[bytes], name: str, size: int) -> bytes:
        try:
            found = stream.read(size)
        except DAMAGED as error:
            raise DataError(f"{self.path}: {name} is damaged ({error}); download or convert it again") from error
        if len(found) < size:
            raise DataError(f"{self.path}: {name} is cut off; download or convert it again")
        return found
