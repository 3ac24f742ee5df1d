"""The store on a local file system: committed artifacts by key, each whole or not there at all."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from fabloom.durable import write_durably
from fabloom.errors import DamagedArtifact, EnvironmentProblem, UserError
from fabloom.hashing import canonical_json
from fabloom.kinds import Artifact, Staging
from fabloom.planning.keys import SCHEMA
from fabloom.planning.sources import SourceCache
from fabloom.storage.commit.exchange import recover
from fabloom.storage.commit.manifest import DATA, NAME, read_manifest
from fabloom.storage.commit.reader import ArtifactReader
from fabloom.storage.refs import LocalRefs

from .base import BaseStore
from .locks import locked
from .pins import pinned

ROOMS = ("objects", "staging", "work", "locks", "refs")
STAMP = "store.json"


class LocalStore(BaseStore):
    """Artifacts under `objects/<k2>/<key>/`. Opening completes a half-made folder, unless it is opened read-only.

    Raises UserError for a folder that holds something else, DamagedArtifact for a damaged stamp, EnvironmentProblem for a folder
    that cannot be read, or written where it must be.
    """

    def __init__(self, root: str | Path, kinds: Mapping[str, type[Artifact]] | None = None, *, read_only: bool = False) -> None:
        super().__init__(kinds)
        self.root = Path(root).expanduser().absolute()
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

    def _open(self) -> None:
        stamp = self.root / STAMP
        try:
            if self.root.exists() and not self.root.is_dir():
                raise UserError(f"store '{self.root}' is a file; give the path of a folder")
            present = {p.name for p in self.root.iterdir()} if self.root.is_dir() else set()
            strangers = sorted(n for n in present - {*ROOMS, STAMP, "reports"} if not n.startswith(f".{STAMP}"))
            if strangers and STAMP not in present:
                raise UserError(f"'{self.root}' is no fabloom store: it holds '{strangers[0]}'. Give a new or empty folder to --store.")
            if self.read_only and STAMP not in present:
                return  # an empty store, of which nothing is made
            if not self.read_only:
                for room in ROOMS:
                    (self.root / room).mkdir(parents=True, exist_ok=True)
                if STAMP not in present or not stamp.read_bytes():
                    write_durably(stamp, canonical_json({"schema": SCHEMA}))
            schema = json.loads(stamp.read_bytes()).get("schema")
        except (ValueError, AttributeError) as error:
            raise DamagedArtifact(f"'{stamp}' is damaged ({error}); it should read {{\"schema\":{SCHEMA}}}") from error
        except OSError as error:
            raise EnvironmentProblem(f"cannot open the store '{self.root}': {error.strerror}. Give another path to --store.") from error
        if not isinstance(schema, int) or schema > SCHEMA:
            raise EnvironmentProblem(f"store '{self.root}' has schema {schema}; this fabloom knows {SCHEMA}. Upgrade fabloom.")
        if not self.read_only and not os.access(self.root / "staging", os.W_OK):
            raise EnvironmentProblem(f"store '{self.root}' cannot be written. Mend its permissions or give another path to --store.")

    def folder(self, key: str) -> Path:
        """Where the artifact is, or will be."""
        return self.root / "objects" / key[:2] / key

    def has(self, key: str) -> bool:
        """True once the artifact is committed."""
        return (self.folder(key) / NAME).is_file()

    def manifest(self, key: str) -> dict[str, Any]:
        """The checked manifest. Raises UserError for an unknown key, DamagedArtifact for a damaged manifest."""
        if not self.has(key):
            raise UserError(f"there is no artifact {key} in '{self.root}'")
        return read_manifest(self.folder(key))

    def reader(self, key: str, manifest: Mapping[str, Any]) -> ArtifactReader:
        """The committed files, each held against the manifest before it is believed."""
        return ArtifactReader(key, manifest["digest"], None, self.folder(key) / DATA, manifest["files"], manifest.get("marks"))

    def committed_at(self, key: str) -> float:
        """Unix time of the commit on this file system. Raises UserError for an unknown key."""
        if not self.has(key):
            raise UserError(f"there is no artifact {key} in '{self.root}'")
        return (self.folder(key) / NAME).stat().st_mtime

    def keys(self) -> Iterator[str]:
        """All committed keys, sorted."""
        for path in sorted((self.root / "objects").glob(f"*/*/{NAME}")):
            yield path.parent.name

    def beginning(self, text: str) -> Iterable[str]:
        """Committed keys that begin with `text`, two characters or more."""
        return [p.name for p in (self.root / "objects" / text[:2]).glob(f"{text}*") if self.has(p.name)]

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
        shutil.rmtree(gone, ignore_errors=True)
        if self.folder(key).exists():
            self.folder(key).rename(gone)
            shutil.rmtree(gone)
