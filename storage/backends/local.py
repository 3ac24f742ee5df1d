"""The store on a local file system: committed artifacts by key, each whole or not there at all."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from fabloom.durable import write_durably
from fabloom.errors import DamagedArtifact, EnvironmentProblem, UserError
from fabloom.hashing import canonical_json
from fabloom.kinds import Artifact, Staging
from fabloom.locks import locked
from fabloom.planning.keys import SCHEMA
from fabloom.planning.sources import SourceCache
from fabloom.regular import STRANGE, clear, read_regular
from fabloom.storage.commit.exchange import recover
from fabloom.storage.commit.manifest import DATA, NAME, read_manifest
from fabloom.storage.commit.reader import ArtifactReader
from fabloom.storage.refs import LocalRefs
from fabloom.storage.upkeep import LocalUpkeep

from .base import BaseStore
from .pins import pinned

ROOMS = ("objects", "staging", "work", "locks", "refs")
STAMP = "store.json"


class LocalStore(BaseStore):
    """Artifacts under `objects/<k2>/<key>/`. Opening completes a half-made folder, unless it is opened read-only.

    Raises UserError for a folder that holds something else, DamagedArtifact for a damaged stamp, EnvironmentProblem for a folder
    that cannot be read, or written where it must be.
    """

    joins = True

    def __init__(self, root: str | Path, kinds: Mapping[str, type[Artifact]] | None = None, *, read_only: bool = False) -> None:
        super().__init__(kinds)
        try:
            self.root = Path(root).expanduser().absolute()
        except RuntimeError as error:  # of `~somebody`
            raise UserError(f"store '{root}': there is no such user here") from error
        self.read_only = read_only
        self._open()
        self.refs = LocalRefs(self.root / "refs")
        self.hasher = SourceCache(None if read_only else self.root / "work" / "sources.json")

    @property
    def url(self) -> str:
        """What `--store` takes to open this store again."""
        return str(self.root)

    @property
    def pages(self) -> Path:
        """Where report pages lie."""
        return self.root / "reports"

    @property
    def upkeep(self) -> LocalUpkeep:
        """For `verify` and `gc`."""
        return LocalUpkeep(self)

    def _open(self) -> None:
        stamp = self.root / STAMP
        try:
            present = self._present()
            if self.read_only and STAMP not in present:
                return  # an empty store, of which nothing is made
            if not self.read_only:
                for room in ROOMS:
                    (self.root / room).mkdir(parents=True, exist_ok=True)
                if STAMP not in present or not read_regular(stamp):
                    write_durably(stamp, canonical_json({"schema": SCHEMA}))
            schema = json.loads(read_regular(stamp)).get("schema")
        except (ValueError, AttributeError, RecursionError) as error:
            raise DamagedArtifact(f"'{stamp}' is damaged ({error}); it should read {{\"schema\":{SCHEMA}}}") from error
        except OSError as error:
            if error.errno in STRANGE and error.filename == str(stamp):
                raise DamagedArtifact(f"'{stamp}' is no file; remove it, and the store makes it again") from error
            raise EnvironmentProblem(f"cannot open the store '{self.root}': {error.strerror}. Give another path to --store.") from error
        if isinstance(schema, int) and schema < 1:
            raise DamagedArtifact(f"'{stamp}' is damaged (there is no schema {schema}); it should read {{\"schema\":{SCHEMA}}}")
        if not isinstance(schema, int) or schema > SCHEMA:
            raise EnvironmentProblem(f"store '{self.root}' has schema {schema}; this fabloom knows {SCHEMA}. Upgrade fabloom.")
        if not self.read_only and not os.access(self.root / "staging", os.W_OK):
            raise EnvironmentProblem(f"store '{self.root}' cannot be written. Mend its permissions or give another path to --store.")

    def _present(self) -> set[str]:
        """Names of what lies in the store's folder. Raises UserError where it is none, DamagedArtifact where a room of it is no folder."""
        if self.root.exists() and not self.root.is_dir():
            raise UserError(f"store '{self.root}' is a file; give the path of a folder")
        present = {p.name for p in self.root.iterdir()} if self.root.is_dir() else set()
        strangers = sorted(n for n in present - {*ROOMS, STAMP, "reports"} if not n.startswith(f".{STAMP}"))
        if strangers and STAMP not in present:
            raise UserError(f"'{self.root}' is no fabloom store: it holds '{strangers[0]}'. Give a new or empty folder to --store.")
        for room in sorted({*ROOMS, "reports"} & present):
            if not (self.root / room).is_dir():
                raise DamagedArtifact(f"'{self.root / room}' is no folder. Remove it, or bring the folder back.")
        return present

    def folder(self, key: str) -> Path:
        """Where the artifact is, or will be."""
        return self.root / "objects" / key[:2] / key

    def has(self, key: str) -> bool:
        """True once the artifact is committed. Raises EnvironmentProblem where its folder may not be looked into."""
        path = self.folder(key) / NAME
        try:
            return stat.S_ISREG(path.stat().st_mode)
        except OSError as error:
            if error.errno in {errno.ENOENT, *STRANGE}:
                return False
            raise EnvironmentProblem(
                f"artifact {key[:12]}: {NAME} cannot be looked at: {error.strerror}. Mend the disk, or the permissions of '{path.parent}'."
            ) from error

    def manifest(self, key: str) -> dict[str, Any]:
        """The checked manifest. Raises UserError for an unknown key, DamagedArtifact for a damaged manifest."""
        if not _is_there(self.folder(key) / NAME):
            raise self._nothing(key)
        try:
            return read_manifest(self.folder(key))
        except FileNotFoundError:  # taken out meanwhile
            raise self._nothing(key) from None

    def _nothing(self, key: str) -> UserError:
        return UserError(f"there is no artifact {key} in '{self.root}'")

    def reader(self, key: str, manifest: Mapping[str, Any]) -> ArtifactReader:
        """The committed files, each held against the manifest before it is believed."""
        return ArtifactReader(key, manifest["digest"], None, self.folder(key) / DATA, manifest["files"], manifest.get("marks"))

    def committed_at(self, key: str) -> float:
        """Unix time of the commit on this file system. Raises UserError for an unknown key."""
        path = self.folder(key) / NAME
        if not _is_there(path):
            raise self._nothing(key)
        try:
            return path.lstat().st_mtime
        except FileNotFoundError:
            raise self._nothing(key) from None

    def keys(self) -> Iterator[str]:
        """All keys with a manifest, sorted, also of what cannot be read. What may not even be listed is told by `verify`."""
        for folder in _folders(self.root / "objects"):
            with contextlib.suppress(PermissionError):
                for key in _folders(folder):
                    if _is_there(key / NAME):
                        yield key.name

    def beginning(self, text: str) -> Iterable[str]:
        """Committed keys that begin with `text`, two characters or more."""
        return [p.name for p in (self.root / "objects" / text[:2]).glob(f"{text}*") if _is_there(p / NAME)]

    def lock(self, key: str, waiting: Callable[[str], None], stop: Callable[[], bool]) -> AbstractContextManager[bool]:
        """Hold the key's lock; yields False if `stop()` ended the wait."""
        self.writable()
        return self._held(key, waiting, stop)

    @contextmanager
    def _held(self, key: str, waiting: Callable[[str], None], stop: Callable[[], bool]) -> Iterator[bool]:
        with locked(self.root / "locks" / f"{key}.lock", waiting, stop) as held:
            if held:
                recover(self.root / "staging" / key, self.folder(key))
            yield held

    def work(self, key: str) -> Path:
        """Scratch folder of a step: checkpoints and the journal; survives a kill, goes with the commit."""
        return self.root / "work" / key

    def stage(self, key: str) -> Staging:
        """Begin, or go on with, writing the artifact. The caller holds the key's lock."""
        from fabloom.storage.commit.staging import StagedArtifact

        self.writable()
        return StagedArtifact(key, self.root / "staging" / key, self.work(key))

    def commit(self, staged: Any, facts: Mapping[str, Any], *, replace: bool = False) -> dict[str, Any]:
        """Move what was staged to its place, whole, and return its manifest.

        An earlier commit of the key stays, and its manifest is returned; with `replace` the new one takes its place, in one step.
        """
        self.writable()
        known = {"replace": True} if replace else {}
        manifest: dict[str, Any] = staged.commit(self.folder(staged.key), facts, **known)
        return manifest

    def pinned(self, keys: Iterable[str]) -> AbstractContextManager[None]:
        """Say what a run reads: `gc` leaves it alone until the end of the block, or of this process."""
        return nullcontext() if self.read_only else pinned(self.root / "locks", keys)

    def set_aside(self, key: str) -> None:
        """Take a committed artifact out of the store. It is deleted, not kept; a kill half way leaves a leftover, never half of it.

        The caller holds the key.
        """
        self.writable()
        gone = self.root / "staging" / f"gone-{key}"
        clear(gone)
        if os.path.lexists(self.folder(key)):
            self.folder(key).rename(gone)
            clear(gone)


def _folders(room: Path) -> list[Path]:
    """What lies in a folder, sorted; nothing where there is no folder."""
    try:
        return sorted(room.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_there(path: Path) -> bool:
    """Whether anything has that name, or may have."""
    try:
        path.lstat()
    except OSError as error:
        return error.errno not in {errno.ENOENT, *STRANGE}
    return True
