"""The store: committed artifacts by key on a local file system."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from fabloom.errors import DamagedArtifact, EnvironmentProblem, PluginError, UserError, did_you_mean
from fabloom.hashing import canonical_json
from fabloom.kinds import BUILTIN_KINDS, Artifact
from fabloom.planning.keys import SCHEMA
from fabloom.planning.sources import SourceCache
from fabloom.storage.commit.manifest import DATA, NAME, read_manifest, write_durably
from fabloom.storage.commit.reader import ArtifactReader
from fabloom.storage.refs import Refs

from .locks import locked

ROOMS = ("objects", "staging", "work", "locks", "refs")
STAMP = "store.json"


class LocalStore:
    """Artifacts under `objects/<k2>/<key>/`, each whole or not there at all. Opening completes a half-made folder."""

    def __init__(self, root: str | Path, kinds: Mapping[str, type[Artifact]] | None = None) -> None:
        self.root = Path(root).expanduser().absolute()
        self.kinds = {kind.kind: kind for kind in BUILTIN_KINDS} | dict(kinds or {})
        self._open()
        self.refs = Refs(self.root / "refs")
        self.hasher = SourceCache(self.root / "work" / "sources.json")

    @property
    def url(self) -> str:
        """What `--store` takes to open this store again."""
        return str(self.root)

    def _open(self) -> None:
        stamp = self.root / STAMP
        try:
            if self.root.exists() and not self.root.is_dir():
                raise UserError(f"store '{self.root}' is a file; give the path of a folder")
            present = {p.name for p in self.root.iterdir()} if self.root.is_dir() else set()
            strangers = sorted(n for n in present - {*ROOMS, STAMP, "reports"} if not n.startswith(f".{STAMP}"))
            if strangers and STAMP not in present:
                raise UserError(f"'{self.root}' is no fabloom store: it holds '{strangers[0]}'. Give a new or empty folder to --store.")
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
        if not os.access(self.root / "staging", os.W_OK):
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

    def get(self, key: str) -> Artifact:
        """The committed artifact, of its kind's class."""
        manifest = self.manifest(key)
        kind = self.kinds.get(manifest["kind"])
        if kind is None:
            maker = f"{manifest['plugin']['distribution']} {manifest['plugin']['version']}"
            raise PluginError(
                f"artifact {key[:12]} is of kind '{manifest['kind']}', which no installed plugin declares; {maker} made it. Install that."
            )
        return kind(ArtifactReader(key, manifest["digest"], None, self.folder(key) / DATA, manifest["files"]))

    def committed_at(self, key: str) -> float:
        """Unix time of the commit on this file system."""
        return (self.folder(key) / NAME).stat().st_mtime

    def keys(self) -> Iterator[str]:
        """All committed keys, sorted."""
        for path in sorted((self.root / "objects").glob(f"*/*/{NAME}")):
            yield path.parent.name

    def resolve(self, text: str) -> str:
        """The key that a key, a unique beginning of one (6 characters), `ref:NAME`, `key:HEX` or a ref's name stands for."""
        if text.startswith("ref:"):
            return self.refs.get(text[4:])
        wanted = text.removeprefix("key:")
        if len(wanted) >= 6 and all(c in "0123456789abcdef" for c in wanted):
            matches = [p.name for p in (self.root / "objects" / wanted[:2]).glob(f"{wanted}*") if self.has(p.name)]
            if len(matches) == 1:
                return matches[0]
            if matches:
                raise UserError(f"'{wanted}' begins {len(matches)} keys; give more of it: {', '.join(sorted(matches)[:4])}")
        if wanted in self.refs.names():
            return self.refs.get(wanted)
        if 0 < len(wanted) < 6 and all(c in "0123456789abcdef" for c in wanted):
            raise UserError(f"'{wanted}' is too short for a key: give at least its first 6 characters")
        raise UserError(f"no artifact or ref '{wanted}' in '{self.root}'.{did_you_mean(text, self.refs.names())} See `fabloom artifacts`.")

    def lock(self, key: str, waiting: Callable[[str], None], stop: Callable[[], bool]) -> AbstractContextManager[bool]:
        """Hold the key's lock; yields False if `stop()` ended the wait."""
        return locked(self.root / "locks" / f"{key}.lock", waiting, stop)

    def work(self, key: str) -> Path:
        """Scratch folder of a step: checkpoints and the journal; survives a kill, goes with the commit."""
        return self.root / "work" / key

    def stage(self, key: str) -> Any:
        """Begin, or go on with, writing the artifact. The caller holds the key's lock."""
        from fabloom.storage.commit.staging import StagedArtifact

        return StagedArtifact(key, self.root / "staging" / key, self.work(key))

    def lineage(self, key: str) -> dict[str, dict[str, Any]]:
        """Manifests of the artifact and everything it was made from, nearest first."""
        found: dict[str, dict[str, Any]] = {}
        queue = [key]
        while queue:
            current = queue.pop(0)
            if current not in found:
                found[current] = self.manifest(current)
                for value in found[current]["preimage"]["inputs"].values():
                    queue.extend(value if isinstance(value, list) else [value])
        return found

    def set_aside(self, key: str) -> None:
        """Take a committed artifact out of the store, so that its step runs again. It is deleted, not kept."""
        import shutil

        aside = self.root / "staging" / f"aside-{key}-{os.getpid()}"
        if self.folder(key).exists():
            self.folder(key).rename(aside)
            shutil.rmtree(aside)
