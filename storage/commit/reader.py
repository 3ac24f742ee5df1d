"""Reading an artifact: every file is held against the manifest before it is believed."""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.errors import DamagedArtifact
from fabloom.hashing import blake
from fabloom.regular import STRANGE, open_regular, read_regular

from .manifest import NAME

if TYPE_CHECKING:
    from fabloom.storage.format.batches import Rows
    from fabloom.storage.format.rows import StoredArray

GROUP = "zarr.json"


class ArtifactReader:
    """Implements `fabloom.artifacts.Reader`. `files` is the manifest's table, or None for an artifact still being written; `marks` is
    what the manifest knows of its data files besides, nothing in an older one.

    Metadata files are hashed when they are opened, data files are compared by size and mark, and each chunk carries a crc32c.
    """

    def __init__(
        self,
        key: str,
        digest: str,
        attrs: Mapping[str, Any] | None,
        folder: Path,
        files: Mapping[str, Sequence[Any]] | None,
        marks: Mapping[str, str] | None = None,
    ) -> None:
        self.key, self.digest = key, digest
        self.folder = folder
        self._attrs, self._files, self._marks = attrs, files, marks or {}
        self._seen: tuple[int, int] | None = None

    @property
    def attrs(self) -> Mapping[str, Any]:
        """JSON attributes of the zarr group."""
        if self._attrs is None:
            self._attrs = json.loads(self._checked(GROUP)).get("attributes", {})
        return self._attrs

    def names(self) -> list[str]:
        """Names of the arrays."""
        if self._files is None:
            return sorted(path.name for path in self.folder.iterdir() if path.is_dir())
        return sorted(self._committed)

    @cached_property
    def _committed(self) -> frozenset[str]:
        """Names of the arrays that the manifest lists: it is immutable, and a model asks for each of its tensors."""
        return frozenset(name.partition("/")[0] for name in self._files or () if name != GROUP)

    def array(self, name: str) -> StoredArray | None:
        """The array, or None where the artifact has none of that name."""
        from fabloom.storage.format.rows import StoredArray

        if self._files is None:
            return StoredArray(self.folder / name, None) if name in self.names() else None
        if name not in self._committed:
            return None
        return StoredArray(self.folder / name, self._expected, self._checked(f"{name}/{GROUP}"), self._check_same)

    def rows(self, names: Sequence[str], threads: int = 2) -> Rows:
        """Fast random access to rows of several arrays."""
        from fabloom.storage.format.batches import Rows

        arrays = {}
        for name in names:
            array = self.array(name)
            if array is None:
                raise KeyError(f"artifact {self.key[:12]} has no array '{name}', only {self.names()}")
            arrays[name] = array
        return Rows(arrays, threads)

    def raw(self, name: str) -> Iterator[Any]:
        """The bytes of a stored file, as they are, in pieces; of a longer one a byte more than was committed, of what is no file none."""
        left = sys.maxsize if self._files is None else self.entry(name)[0] + 1
        try:
            with open_regular(self.folder / name) as file:  # in its place may be a link to a device that never ends
                while piece := file.read(min(1 << 20, left)):
                    left -= len(piece)
                    yield piece
        except OSError as error:
            if error.errno not in {errno.ENOENT, *STRANGE}:
                raise

    def copy(self, name: str, target: Path) -> None:
        """Put a stored file at `target`, as another name of it where the file system gives one."""
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        try:
            os.link(self.folder / name, target, follow_symlinks=False)
        except OSError:
            self._write(name, target)

    def _write(self, name: str, target: Path) -> None:
        """Put the bytes of a stored file at `target`."""
        from fabloom.storage.format.arrays import write_synced

        write_synced(target, self.raw(name))

    def entry(self, name: str) -> tuple[int, str]:
        """Size and hash with which a file was committed. Raises DamagedArtifact for one that was not."""
        if self._files is None or name not in self._files:
            raise DamagedArtifact(f"artifact {self.key[:12]}: '{name}' is not in its manifest")
        size, digest = self._files[name]
        return int(size), str(digest)

    def _checked(self, name: str) -> bytes:
        size, digest = self.entry(name)
        data = self._content(name, size)
        if data is None or len(data) != size or blake(data) != digest:
            what = "is missing" if data is None else "differs from what was committed"
            raise DamagedArtifact(
                f"artifact {self.key[:12]}: '{name}' {what}. Run `fabloom verify {self.key[:12]}`, then `fabloom run … --redo STEP`."
            )
        return data

    def _content(self, name: str, size: int) -> bytes | None:
        """What lies there, of which a byte more than was committed is enough to tell; None for nothing."""
        try:
            return read_regular(self.folder / name, size + 1)
        except OSError as error:
            if error.errno not in {errno.ENOENT, *STRANGE}:
                raise
            return None

    def _check_same(self) -> None:
        """Raise DamagedArtifact where another artifact has taken this one's place: what was opened since may be of the other."""
        beside = self.folder.with_name(NAME)
        try:
            state = beside.stat()
            if (state.st_ino, state.st_mtime_ns) == self._seen:
                return
            same = f'"digest":"{self.digest}"'.encode() in beside.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            same = False
        if not same:
            raise DamagedArtifact(
                f"artifact {self.key[:12]} was removed, or made again with another content, since it was opened. Run again."
            )
        self._seen = (state.st_ino, state.st_mtime_ns)

    def _expected(self, path: Path) -> str:
        """The mark of a data file. Raises DamagedArtifact where no file of its size is there."""
        name = path.relative_to(self.folder).as_posix()
        size, _ = self.entry(name)
        try:
            found = path.stat()
        except OSError as error:
            if error.errno not in {errno.ENOENT, *STRANGE}:
                raise
            found = None
        if found is None or not stat.S_ISREG(found.st_mode) or found.st_size != size:
            raise DamagedArtifact(
                f"artifact {self.key[:12]}: '{name}' is missing or has another size than committed. "
                f"Run `fabloom verify {self.key[:12]}`, then `fabloom run … --redo STEP`."
            )
        return self._marks.get(name, "")
