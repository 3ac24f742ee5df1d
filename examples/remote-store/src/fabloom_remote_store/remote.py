"""The file system at the other end: a few operations of fsspec, with its errors turned into fabloom's."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from fsspec.core import url_to_fs  # type: ignore[import-untyped]

from fabloom.errors import DamagedArtifact, EnvironmentProblem, FabloomError, UserError

MOST_BYTES = 64 << 20
"""The most that is read of a manifest or a ref: these are the only files whose size nothing announces."""


class Remote:
    """Files under one URL. Names are relative to it and use '/'."""

    def __init__(self, url: str) -> None:
        if "://" not in url:
            raise UserError(f"'remote+{url}' is no store URL: write remote+SCHEME://PLACE, as in remote+s3://bucket/prefix")
        scheme = url.partition("://")[0]
        options = {"auto_mkdir": True} if scheme in ("file", "local") else {}
        try:
            self._fs, root = url_to_fs(url, use_listings_cache=False, **options)  # others write to it: a listing must not be old
        except ImportError as error:
            raise EnvironmentProblem(f"store 'remote+{url}': {error}. Install what opens '{scheme}', e.g. s3fs for s3.") from error
        except ValueError as error:
            raise UserError(f"store 'remote+{url}': {error}") from error
        self._root = str(root).rstrip("/")
        self.name: str = self._fs.unstrip_protocol(self._root)

    def has(self, name: str) -> bool:
        """True where there is a file of that name. fsspec's own `exists` and `isfile` take a network that is down for a no."""
        with self._reaching(name):
            try:
                return bool(self._fs.info(self._path(name))["type"] == "file")
            except FileNotFoundError:
                return False

    def read(self, name: str) -> bytes | None:
        """The content of a small file, None where there is none. Raises DamagedArtifact for one over `MOST_BYTES`."""
        with self._reaching(name):
            try:
                size = self._fs.info(self._path(name))["size"]
                if size > MOST_BYTES:
                    raise DamagedArtifact(f"'{name}' in '{self.name}' has {size} bytes; {MOST_BYTES} at most were expected")
                return bytes(self._fs.cat_file(self._path(name)))
            except (FileNotFoundError, IsADirectoryError):
                return None

    def write(self, name: str, data: bytes) -> None:
        """Replace a small file in one step: a mounted share would show a half-written file under its final name."""
        folder, _, last = self._path(name).rpartition("/")
        temporary = f"{folder}/.{last}.{os.getpid()}.{os.urandom(4).hex()}.tmp"
        with self._reaching(name):
            self._fs.pipe_file(temporary, data)
            self._fs.mv(temporary, self._path(name))

    def upload(self, source: Path, name: str) -> None:
        """Copy every file under a local folder to `name`; object stores take several at a time."""
        files = sorted(path for path in source.rglob("*") if path.is_file())
        with self._reaching(name):
            self._fs.put([str(p) for p in files], [self._path(f"{name}/{p.relative_to(source).as_posix()}") for p in files])

    def download(self, name: str, sizes: Mapping[str, int], target: Path) -> None:
        """Copy the files named in `sizes` from `name` to a local folder, and no others.

        One listing is held against the sizes first, so that nothing is fetched that cannot be what was committed.
        Raises DamagedArtifact for a file that is missing or has another size.
        """
        with self._reaching(name):
            base = len(self._path(name)) + 1
            found = {path[base:]: entry["size"] for path, entry in self._fs.find(self._path(name), detail=True).items()}
        for file, size in sizes.items():
            if file not in found and self.has(f"{name}/{file}"):  # a listing passes over what it cannot reach; this does not
                raise EnvironmentProblem(f"'{name}/{file}' in '{self.name}' is there but not listed. Run again.")
            if found.get(file) != size:
                what = "is missing" if file not in found else f"has {found[file]} bytes instead of {size}"
                raise DamagedArtifact(f"'{name}/{file}' in '{self.name}' {what}")
        local = [target / file for file in sizes]
        for folder in {path.parent for path in local}:
            folder.mkdir(parents=True, exist_ok=True)
        with self._reaching(name):
            self._fs.get([self._path(f"{name}/{file}") for file in sizes], [str(path) for path in local])

    def matching(self, pattern: str) -> list[str]:
        """Names that match a pattern of '*' (within one folder) and '**'."""
        with self._reaching(pattern):
            found = sorted(path[len(self._root) + 1 :] for path in self._fs.glob(self._path(pattern)))
        if not found:
            self.has(pattern.partition("/")[0])  # raises where it is the network that makes the list empty
        return found

    def remove(self, names: Sequence[str]) -> None:
        """Remove files and folders in the order given; what is not there is passed over."""
        for name in names:
            with self._reaching(name), suppress(FileNotFoundError):
                self._fs.info(self._path(name))  # `rm` too takes a network that is down for nothing to remove
                self._fs.rm(self._path(name), recursive=True)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _reaching(self, name: str) -> Iterator[None]:
        try:
            yield
        except FabloomError:
            raise
        except Exception as error:  # every cloud library has exceptions of its own
            told = f"{type(error).__name__}: {error}"
            raise EnvironmentProblem(
                f"cannot reach '{name}' in '{self.name}' ({told}). Check the network and the credentials, then run again."
            ) from error
