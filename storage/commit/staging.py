"""An artifact while it is written: staged files, the journal that lets finished row blocks survive a kill, and the commit.

staging/<key>/data.zarr/      the arrays; belongs to the holder of the key's lock
work/<key>/journal.jsonl      one line a finished, fsynced row block: its files with sizes and hashes
objects/<k2>/<key>/           appears by one rename, whole
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.durable import sync_folders, write_durably
from fabloom.errors import DamagedArtifact
from fabloom.hashing import blake, blake_file, blake_open, canonical_json
from fabloom.kinds import RowSpec
from fabloom.regular import clear, is_plain
from fabloom.storage.format.arrays import StoredArray, create_group, write_tensor

from .exchange import aside, exchange
from .joining import join
from .manifest import DATA, NAME, note_second, read_manifest, tree_digest, write_manifest
from .names import SAFE_NAME
from .reader import ArtifactReader
from .rows import StagedRows

if TYPE_CHECKING:
    from numpy.typing import NDArray

JOURNAL = "journal.jsonl"


class StagedArtifact:
    """Implements `fabloom.artifacts.Staging` on a local folder. Create it only while holding the key's lock."""

    def __init__(self, key: str, staging: Path, work: Path) -> None:
        self.key = key
        self.attrs: dict[str, Any] = {}
        self.root, self.work = staging, work
        self._hashes: dict[str, tuple[int, str]] = {}
        self._rows: StagedRows | None = None
        for folder in (work, staging, staging / DATA):
            if folder.is_symlink() or not folder.is_dir():
                clear(folder)
            folder.mkdir(parents=True, exist_ok=True)
        self._journal = self._recover()

    def folder(self, name: str) -> Path:
        """Where array `name` lives; refuses names that are not plain file names."""
        if not SAFE_NAME.fullmatch(name) or name == "zarr.json":
            raise ValueError(f"'{name}' is no safe array name: letters, digits, '_', '.', '-' only")
        return self.root / DATA / name

    def _recover(self) -> list[bytes]:
        """Keep the row blocks that the journal vouches for, remove all else, and return the journal's good lines."""
        path = self.work / JOURNAL
        for folder, below, names in os.walk(self.root):
            for odd in (p for name in (*below, *names) if (p := Path(folder, name)).is_symlink() or not (p.is_dir() or p.is_file())):
                odd.unlink()  # nothing that is kept may lie behind a link, or be waited for
        if not is_plain(path):
            clear(path)
        try:
            lines = path.read_bytes().split(b"\n")[:-1]  # a torn last line has no newline
        except OSError:  # not there, or not to be read: what it would vouch for is made again
            lines = []
        kept: list[bytes] = lines[:1]
        for line in lines[1:]:
            try:
                files = {str(name): (int(size), str(digest)) for name, size, digest in json.loads(line)}
            except (ValueError, TypeError):
                break
            if not all(self._vouched(name, *entry) for name, entry in files.items()):
                break
            self._hashes.update(files)
            kept.append(line)
        self._clear()
        return kept

    def declare(self, count: int, block: int, specs: Mapping[str, RowSpec]) -> int:
        """Begin the journal of this layout and return how many of its blocks are done; blocks of another layout are dropped."""
        layout = blake(canonical_json([count, block, {n: [s.dtype, s.shape, s.compress, s.dims] for n, s in specs.items()}]))
        head = canonical_json(layout)
        if self._journal[:1] != [head]:
            self._drop_rows()
            self._journal = [head]
        self._keep_in_order(specs)
        write_durably(self.work / JOURNAL, b"".join(line + b"\n" for line in self._journal))
        return len(self._journal) - 1

    def _keep_in_order(self, specs: Mapping[str, RowSpec]) -> None:
        """Drop the blocks from the first on whose line names other files than it must: of equal blocks a damaged name is vouched for."""
        for index, line in enumerate(self._journal[1:]):
            named = {str(name) for name, _, _ in json.loads(line)}
            if named != {f"{name}/c/{index}{'/0' * len(spec.shape)}" for name, spec in specs.items()}:
                del self._journal[index + 1 :]
                break
        kept = {str(name) for line in self._journal[1:] for name, _, _ in json.loads(line)}
        for name in set(self._hashes) - kept:
            (self.root / DATA / name).unlink()
            del self._hashes[name]

    def _drop_rows(self) -> None:
        """Remove recovered blocks that nobody goes on with."""
        for name in {name.partition("/")[0] for name in self._hashes}:
            shutil.rmtree(self.root / DATA / name)
        self._hashes.clear()

    def _vouched(self, name: str, size: int, digest: str) -> bool:
        file = self.root / DATA / name
        try:
            return is_plain(file) and file.stat().st_size == size and blake_file(file) == digest
        except OSError:  # what cannot be read is made again
            return False

    def _clear(self) -> None:
        """Remove every staged file that no journal line vouches for, also a manifest that a kill left half-written."""
        data = self.root / DATA
        for path in sorted(self.root.rglob("*"), reverse=True):
            if path.is_dir() and not path.is_symlink():
                if path != data and not any(path.iterdir()):
                    path.rmdir()
            elif not path.is_relative_to(data) or path.relative_to(data).as_posix() not in self._hashes:
                path.unlink()

    def journal(self, files: list[Path], *, lasting: bool = True) -> None:
        """Record fsynced files as done, durably; not `lasting` where they are soon had again."""
        entries = []
        for file in files:
            name = file.relative_to(self.root / DATA).as_posix()
            self._hashes[name] = (file.stat().st_size, blake_file(file))
            entries.append([name, *self._hashes[name]])
            if lasting:
                sync_folders([file.parent])
        with (self.work / JOURNAL).open("ab") as out:
            out.write(canonical_json(entries) + b"\n")
            out.flush()
            if lasting:
                os.fsync(out.fileno())

    def rows(self, count: int, block: int, arrays: Mapping[str, RowSpec]) -> StagedRows:
        """Declare row-wise arrays of `count` rows, written and resumed in blocks of `block`."""
        if count < 1 or block < 1 or not arrays:
            raise ValueError(f"{count} rows in blocks of {block} of {len(arrays)} arrays: each must be at least 1")
        if self._rows is not None:
            raise ValueError("the rows of an artifact are declared once, all arrays together")
        self._rows = StagedRows(self, count, block, arrays)
        return self._rows

    def entry(self, file: Path) -> tuple[int, str]:
        """Size and hash of a journaled file."""
        return self._hashes[file.relative_to(self.root / DATA).as_posix()]

    def join(self, parts: Sequence[Any]) -> None:
        """Write the rows of committed parts (readers of a store) one after the other, as in one go."""
        join(self, parts)

    def put(self, name: str, value: NDArray[Any], attrs: Mapping[str, Any] | None = None) -> None:
        """Write a whole array of any shape."""
        write_tensor(self.folder(name), value, attrs)

    def as_reader(self) -> ArtifactReader:
        """What is staged, readable like a committed artifact by the task that wrote it."""
        return ArtifactReader(self.key, "", self.attrs, self.root / DATA, None)

    def seal(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Digest everything and write the manifest last: what is staged is whole from here on. Returns the manifest."""
        if self._rows is None:
            self._drop_rows()
        elif self._rows.missing:
            raise ValueError(f"{self._rows.missing} of the {self._rows.count} declared rows are missing; close the writer")
        data = self.root / DATA
        create_group(data, self.attrs)
        files: dict[str, tuple[int, str]] = {}
        for folder, _, names in os.walk(data):
            inside = folder[len(str(data)) + 1 :]
            for name in (f"{inside}/{own}" if inside else own for own in names):
                files[name] = self._hashes.get(name) or _settled(data / name)
            sync_folders([Path(folder)])
        arrays: dict[str, Any] = {}
        marks: dict[str, str] = {}
        reader = self.as_reader()
        for name in reader.names():
            array = StoredArray(self.folder(name), None)
            arrays[name] = {"shape": list(array.shape), "dtype": str(array.dtype)}
            marks.update({path.relative_to(data).as_posix(): mark for path, mark in array.marks().items()})
        return write_manifest(
            self.root,
            {
                **facts,
                "key": self.key,
                "digest": tree_digest(files),
                "files": {name: list(entry) for name, entry in files.items()},
                "marks": marks,
                "arrays": arrays,
                "metrics": self.attrs.get("metrics", {}),
            },
        )

    def commit(self, target: Path, facts: Mapping[str, Any], *, replace: bool = False) -> dict[str, Any]:
        """Seal it and rename it into place. Returns the manifest.

        Where the artifact is there already (a second committer, on a file system whose locks do not reach), it stays and is returned;
        with `replace` the two change places and the old one goes.
        """
        manifest = self.seal(facts)
        target.parent.mkdir(parents=True, exist_ok=True)
        if replace and os.path.lexists(target):
            self._replace(target)
            shutil.rmtree(self.work, ignore_errors=True)
            return manifest
        try:
            self.root.rename(target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            return self._second(target, manifest)
        sync_folders([target.parent.parent, target.parent, self.root.parent])
        shutil.rmtree(self.work, ignore_errors=True)
        return manifest

    def _replace(self, target: Path) -> None:
        """What is staged and what is committed change places; the old one goes. Where the file system cannot do that in one step, the
        old one steps aside first, and `recover` brings it back if this process dies in between.
        """
        if not exchange(self.root, target):
            target.rename(aside(self.root))
            self.root.rename(target)
        sync_folders([target.parent, self.root.parent])
        for old in (self.root, aside(self.root)):
            shutil.rmtree(old, ignore_errors=True)
            with contextlib.suppress(OSError):
                clear(old)  # a link or a file, where an artifact had been

    def _second(self, target: Path, manifest: dict[str, Any]) -> dict[str, Any]:
        """Somebody else has committed this key: keep theirs, and note a difference for `verify` to show."""
        if not (target / NAME).is_file():
            raise DamagedArtifact(f"artifact {self.key[:12]} is there without its {NAME}. Run again to make it anew.")
        first = read_manifest(target)
        shutil.rmtree(self.root)
        note_second(self.work, first, manifest)
        return first


def _settled(path: Path) -> tuple[int, str]:
    """Size and hash of a file, which is on the disk from here on."""
    with path.open("rb", buffering=0) as file:
        os.fsync(file.fileno())
        return os.fstat(file.fileno()).st_size, blake_open(file)
