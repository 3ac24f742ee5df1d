"""The store: a local folder does the work, the remote says what is committed.

<cache>/objects, staging, work, locks, refs     an ordinary fabloom store: locking, staging, checkpoints, data read by tasks
<cache>/known/<key>/manifest.json               manifests seen on the remote: they answer a reused step without any data
<remote>/objects/<k2>/<key>/{data.zarr/, manifest.json}     the manifest is written last: without it there is no artifact
<remote>/refs/<name>.json
"""

from __future__ import annotations

import calendar
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from fabloom.durable import sync_folders, write_durably
from fabloom.errors import DamagedArtifact, UserError
from fabloom.hashing import blake, canonical_json
from fabloom.kinds import Artifact
from fabloom.locks import locked
from fabloom.storage.backends.local import LocalStore
from fabloom.storage.commit.manifest import DATA, DIFFERS, NAME, read_manifest
from fabloom.storage.commit.staging import StagedArtifact
from fabloom.storage.verify import check_artifact

from .checks import KEY, REMEDY, check_key, check_manifest
from .refs import RemoteRefs
from .remote import Remote

CACHE_VARIABLE = "FABLOOM_REMOTE_CACHE"


def cache_folder(remote: str) -> Path:
    """The local folder of a remote: FABLOOM_REMOTE_CACHE, else the user's cache folder; one for each remote below it."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "fabloom" / "remote"
    return Path(os.environ.get(CACHE_VARIABLE) or home).expanduser() / blake(remote.encode())[:16]


class RemoteStaged(StagedArtifact):
    """An artifact being written, which is not committed before the remote has it."""

    def __init__(self, key: str, staging: Path, work: Path, publish: Callable[[str, bool], dict[str, Any]]) -> None:
        super().__init__(key, staging, work)
        self._publish = publish

    def commit(self, target: Path, facts: Mapping[str, Any], *, replace: bool = False) -> dict[str, Any]:
        """Commit to the local folder, then upload. A kill in between costs the upload only: see `RemoteStore.lock`."""
        super().commit(target, facts, replace=replace)
        return self._publish(self.key, replace)


class RemoteStore(LocalStore):
    """A store at `remote+URL`. What is committed is what the remote holds; the local folder may be deleted at any time."""

    def __init__(self, url: str, cache: Path | None = None, *, read_only: bool = False) -> None:
        self._url = url
        self.remote = Remote(url.removeprefix("remote+"))
        super().__init__(cache or cache_folder(self.remote.name), read_only=read_only)
        self.refs = RemoteRefs(self.root / "refs", self.remote)

    @property
    def url(self) -> str:
        """What `--store` takes to open this store again; a step's own process opens it by this."""
        return self._url

    # ------------------------------------------------------------------------------------------------------ what others committed

    def has(self, key: str) -> bool:
        """True once the remote has it. A manifest seen once is believed without asking again: artifacts do not change."""
        return (self._known(key) / NAME).is_file() or self.remote.has(f"{_home(key)}/{NAME}")

    def manifest(self, key: str) -> dict[str, Any]:
        """The checked manifest, fetched where it is not known yet.

        Raises UserError for an unknown key, DamagedArtifact for a manifest that is damaged or not to be trusted.
        """
        folder = self._known(key)
        with self._alone(key):
            if not (folder / NAME).is_file():
                data = self.remote.read(f"{_home(key)}/{NAME}")
                if data is None:
                    raise UserError(f"there is no artifact {key} in '{self.url}'")
                folder.mkdir(parents=True, exist_ok=True)
                write_durably(folder / NAME, data)
            try:
                manifest = read_manifest(folder)
                check_manifest(key, manifest)
            except DamagedArtifact:
                self._forget(key)
                raise
        return manifest

    def get(self, key: str) -> Artifact:
        """The committed artifact; its files are fetched and hashed where the local folder has not got them."""
        manifest = self.manifest(key)
        with self._alone(key):
            if not self._is_local(key):
                self._fetch(key, manifest)
        return super().get(key)

    def keys(self) -> Iterator[str]:
        """All keys committed to the remote, sorted."""
        for path in self.remote.matching(f"objects/*/*/{NAME}"):
            if KEY.fullmatch(path.split("/")[2]):
                yield path.split("/")[2]

    def beginning(self, text: str) -> list[str]:
        """Committed keys that begin with `text`, two hexadecimal digits or more."""
        found = (path.split("/")[2] for path in self.remote.matching(f"objects/{text[:2]}/{text}*/{NAME}"))
        return [key for key in found if KEY.fullmatch(key)]

    def committed_at(self, key: str) -> float:
        """Unix time of the commit, as its manifest has it."""
        return float(calendar.timegm(time.strptime(self.manifest(key)["created"], "%Y-%m-%dT%H:%M:%SZ")))

    def folder(self, key: str) -> Path:
        """Where the artifact is, or will be, on this machine. Call `get` first to have it there."""
        return super().folder(check_key(key))

    # ------------------------------------------------------------------------------------------------------ what this machine commits

    @contextmanager
    def _locked(self, key: str, waiting: Callable[[str], None], stop: Callable[[], bool]) -> Iterator[bool]:
        with super().lock(key, waiting, stop) as held:
            if held and (self.folder(key) / NAME).is_file() and not self.has(key):
                if check_artifact(self.folder(key)):
                    super().set_aside(key)
                else:
                    self._publish(key)
            yield held

    def lock(self, key: str, waiting: Callable[[str], None], stop: Callable[[], bool]) -> AbstractContextManager[bool]:
        """Hold the key's lock on this machine; an upload that was cut off is finished first, so that the step need not run again."""
        return self._locked(key, waiting, stop)

    def stage(self, key: str) -> RemoteStaged:
        """Begin, or go on with, writing the artifact. The caller holds the key's lock."""
        self.writable()
        return RemoteStaged(key, self.root / "staging" / key, self.work(key), self._publish)

    def set_aside(self, key: str) -> None:
        """Take a committed artifact out of the store, for everybody: the manifest goes first, so that no half of it is ever seen."""
        self.writable()
        if self.remote.has(f"{_home(key)}/{NAME}"):
            self.remote.remove([f"{_home(key)}/{NAME}", f"{_home(key)}/{DATA}"])
        self._forget(key)
        super().set_aside(key)

    def _publish(self, key: str, replace: bool = False) -> dict[str, Any]:
        """Upload what is committed here: data first, the manifest last. Where somebody else was first, theirs stays, or goes by `replace`.

        The remote has no step in which two folders change places: while new data are uploaded over old ones, there is no manifest.
        """
        ours = read_manifest(self.folder(key))
        if replace and self.remote.has(f"{_home(key)}/{NAME}"):
            self.remote.remove([f"{_home(key)}/{NAME}", f"{_home(key)}/{DATA}"])
        if self.remote.has(f"{_home(key)}/{NAME}"):
            theirs = self.manifest(key)
            if theirs["digest"] != ours["digest"]:
                self.work(key).mkdir(parents=True, exist_ok=True)
                write_durably(self.work(key) / DIFFERS, canonical_json({"committed": theirs["digest"], "dropped": ours["digest"]}))
            super().set_aside(key)
            return theirs
        self.remote.upload(self.folder(key) / DATA, f"{_home(key)}/{DATA}")
        data = (self.folder(key) / NAME).read_bytes()
        self.remote.write(f"{_home(key)}/{NAME}", data)
        self._known(key).mkdir(parents=True, exist_ok=True)
        write_durably(self._known(key) / NAME, data)
        return ours

    # ------------------------------------------------------------------------------------------------------ the local copy

    def _fetch(self, key: str, manifest: Mapping[str, Any]) -> None:
        """Bring the data here: into staging, every byte hashed, and only then by one rename to where tasks read it."""
        staged = self.root / "staging" / _fetching(key) / key
        shutil.rmtree(staged.parent, ignore_errors=True)  # of a fetch that was killed
        staged.mkdir(parents=True)
        try:
            self.remote.download(f"{_home(key)}/{DATA}", {name: size for name, (size, _) in manifest["files"].items()}, staged / DATA)
            shutil.copyfile(self._known(key) / NAME, staged / NAME)
            if problems := check_artifact(staged):
                raise DamagedArtifact(problems[0])
            sync_folders([staged, *staged.rglob("*")])
            super().set_aside(key)  # a copy of what somebody has replaced since
            self.folder(key).parent.mkdir(parents=True, exist_ok=True)
            staged.rename(self.folder(key))
        except DamagedArtifact as error:
            self._forget(key)  # it may be the manifest that is old
            raise DamagedArtifact(f"artifact {key[:12]} in '{self.url}' is damaged: {error}. {REMEDY}") from error
        finally:
            shutil.rmtree(staged.parent, ignore_errors=True)

    def _is_local(self, key: str) -> bool:
        local = self.folder(key) / NAME
        return local.is_file() and local.read_bytes() == (self._known(key) / NAME).read_bytes()

    def _known(self, key: str) -> Path:
        return self.root / "known" / check_key(key)

    def _forget(self, key: str) -> None:
        shutil.rmtree(self._known(key), ignore_errors=True)

    def _alone(self, key: str) -> AbstractContextManager[bool]:
        """Only one thread of one process fetches an artifact; `gc` sees by this lock that the staging folder is in use."""
        return locked(self.root / "locks" / f"{_fetching(key)}.lock", lambda pid: None, lambda: False)


def _home(key: str) -> str:
    return f"objects/{check_key(key)[:2]}/{key}"


def _fetching(key: str) -> str:
    return f"fetch-{check_key(key)}"
