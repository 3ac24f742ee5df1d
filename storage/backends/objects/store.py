"""The store in a bucket: what is committed lies there, what is being made lies on this machine.

manifests/<key>.json                              put where none is: the artifact exists from here on, and which upload it is
objects/<key>/<digest>-<token>/data.zarr/…        one upload; nobody else ever writes there, so nobody can mix files or lose them
refs/<name>.json, pins/<token>.json, store.json

<work folder>/work, staging, locks, reports, pins  an ordinary local store, in which nothing is ever committed
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.errors import DamagedArtifact, FabloomError, UserError
from fabloom.kinds import Artifact, Staging
from fabloom.kinds.survey import Found
from fabloom.storage.backends.base import BaseStore
from fabloom.storage.backends.local import LocalStore
from fabloom.storage.commit.manifest import DATA, NAME, parse_manifest, read_manifest, write_manifest

from . import pins
from .address import endpoint, parse, workspace
from .bucket import Bucket, S3Bucket, together
from .publish import UPLOAD, publish, upload_of
from .refs import ObjectRefs
from .stamp import check_stamp, probe

if TYPE_CHECKING:
    from .reading import ObjectReader
    from .upkeep import ObjectUpkeep

MANIFESTS = "manifests"
TOKEN = re.compile(r"[0-9a-f]{16}")
OF_A_KEY = re.compile(r"[0-9a-f]{40}")
MANY = 256
"""Manifests that are asked for before the first of them is given out."""
GRACE = 86400.0
"""Seconds after its last object for which an upload without a manifest may still be one under way."""


class ObjectStore(BaseStore):
    """`s3://bucket/prefix`. Raises UserError for a prefix that holds something else, DamagedArtifact for a damaged stamp,
    EnvironmentProblem where the bucket is not there, not reachable or not to be written.
    """

    joins = True

    def __init__(
        self,
        url: str,
        kinds: Mapping[str, type[Artifact]] | None = None,
        *,
        read_only: bool = False,
        bucket: Bucket | None = None,
        work: Path | None = None,
    ) -> None:
        super().__init__(kinds)
        self._url = url if bucket is not None else parse(url).url
        self.read_only = read_only
        self.bucket: Bucket = bucket or S3Bucket(parse(url))
        check_stamp(self.bucket, read_only=read_only)
        self.workspace = LocalStore(work or workspace(parse(url), endpoint()), read_only=read_only)
        self.refs = ObjectRefs(self.bucket)
        self.hasher = self.workspace.hasher

    @property
    def url(self) -> str:
        """What `--store` takes to open this store again."""
        return self._url

    @property
    def pages(self) -> Path:
        """Where report pages lie, on this machine."""
        return self.workspace.pages

    @property
    def pinning(self) -> Path:
        """Where runs of this machine hold a lock for each pin that they have in the bucket."""
        return self.workspace.root / pins.ROOM

    @property
    def upkeep(self) -> ObjectUpkeep:
        """For `verify` and `gc`."""
        from .upkeep import ObjectUpkeep

        return ObjectUpkeep(self)

    def probe(self) -> None:
        """Write and remove a small object, with and without conditions. Raises EnvironmentProblem where that is refused or ignored."""
        probe(self.bucket)

    # ------------------------------------------------------------------------------------------------------ what is there

    @staticmethod
    def place(key: str) -> str:
        """Name of the manifest's object."""
        return f"{MANIFESTS}/{key}.json"

    @classmethod
    def is_manifest(cls, name: str) -> bool:
        """Whether an object's name is that of a manifest."""
        key = name.rpartition("/")[2].removesuffix(".json")
        return bool(OF_A_KEY.fullmatch(key)) and name == cls.place(key)

    def has(self, key: str) -> bool:
        """True once the artifact is committed."""
        return self.bucket.look(self.place(key)) is not None

    def manifest(self, key: str) -> dict[str, Any]:
        """The checked manifest. Raises UserError for an unknown key, DamagedArtifact for a damaged manifest."""
        found = self.bucket.read(self.place(key))
        if found is None:
            raise self._nothing(key)
        return self.parsed(key, found[0])

    def parsed(self, key: str, data: bytes) -> dict[str, Any]:
        """The checked content of a manifest. Raises DamagedArtifact."""
        manifest = parse_manifest(data, key)
        if not isinstance(token := manifest.get(UPLOAD), str) or not TOKEN.fullmatch(token):
            raise DamagedArtifact(f"artifact {key[:12]}: its manifest names no upload. Run `fabloom run … --redo STEP` to make it again.")
        return manifest

    def _nothing(self, key: str) -> UserError:
        return UserError(f"there is no artifact {key} in '{self.url}'")

    def reader(self, key: str, manifest: Mapping[str, Any]) -> ObjectReader:
        """The committed data where they lie, each held against the manifest before it is believed."""
        from .reading import ObjectReader

        return ObjectReader(self.bucket, manifest, f"{upload_of(manifest)}/{DATA}")

    def committed_at(self, key: str) -> float:
        """Unix time of the commit by the server's clock. Raises UserError for an unknown key."""
        found = self.bucket.look(self.place(key))
        if found is None:
            raise self._nothing(key)
        return found.modified

    def keys(self) -> Iterator[str]:
        """All committed keys, sorted: a request for a thousand."""
        return (key for key, _ in self.ages())

    def manifests_of(self, keys: Iterable[str]) -> Iterator[tuple[str, Found]]:
        """Each key with its manifest, or why it cannot be read: several requests at a time."""

        def read(key: str) -> tuple[str, Found]:
            try:
                return key, self.manifest(key)
            except FabloomError as error:
                return key, error

        remaining = iter(keys)
        while some := list(islice(remaining, MANY)):
            yield from together(read, some)

    def ages(self, after: str = "") -> Iterator[tuple[str, float]]:
        """Committed keys with the Unix time of their commit, sorted; those that begin with or come after `after`."""
        for entry in self.bucket.list(MANIFESTS, after):
            if self.is_manifest(entry.name):
                yield entry.name.removeprefix(f"{MANIFESTS}/").removesuffix(".json"), entry.modified

    def beginning(self, text: str) -> Iterable[str]:
        """Committed keys that begin with `text`."""
        found = []
        for key, _ in self.ages(text):
            if not key.startswith(text):
                break
            found.append(key)
        return found

    # ------------------------------------------------------------------------------------------------------ what is being made

    def folder(self, key: str) -> Path:
        """A name on this machine for the artifact; its files are in the bucket."""
        return self.workspace.folder(key)

    def work(self, key: str) -> Path:
        """Scratch folder of a step on this machine: checkpoints and the journal; survives a kill, goes with the commit."""
        return self.workspace.work(key)

    @contextmanager
    def lock(self, key: str, waiting: Callable[[str], None], stop: Callable[[], bool]) -> Iterator[bool]:
        """Hold the key against other processes of this machine; an upload that was cut off is finished first.

        No lock reaches another machine: two may make the same artifact, and the first to commit stays.
        """
        self.writable()
        with self.workspace.lock(key, waiting, stop) as held:
            if held:
                self._finish(key)
            yield held

    def _finish(self, key: str) -> None:
        """Commit what a run had sealed, and not come to upload."""
        sealed = self.workspace.root / "staging" / key
        if not (sealed / NAME).is_file() or self.has(key):
            return
        from fabloom.storage.verify import check_artifact

        if not check_artifact(sealed):
            facts = {name: value for name, value in read_manifest(sealed).items() if name != "self"}
            publish(self, key, write_manifest(sealed, facts | {UPLOAD: secrets.token_hex(8)}), replace=False)  # to a new place: see `gc`

    def stage(self, key: str) -> Staging:
        """Begin, or go on with, writing the artifact, on this machine. The caller holds the key."""
        self.writable()
        return self.workspace.stage(key)

    def commit(self, staged: Any, facts: Mapping[str, Any], *, replace: bool = False) -> dict[str, Any]:
        """Upload what was staged, then put its manifest, which makes it visible, whole; return it.

        An earlier commit of the key stays, and its manifest is returned; with `replace` the new one takes its place.
        """
        self.writable()
        return publish(self, staged.key, staged.seal({**facts, UPLOAD: secrets.token_hex(8)}), replace=replace)

    # ------------------------------------------------------------------------------------------------------ what goes

    def pinned(self, keys: Iterable[str]) -> AbstractContextManager[None]:
        """Say in the bucket what a run reads: `gc` of any machine leaves it alone until the end of the block. That of a killed run goes
        with a `gc` on its machine, or is believed for 30 days.
        """
        return nullcontext() if self.read_only else pins.pinned(self.bucket, keys, self.pinning)

    def set_aside(self, key: str) -> None:
        """Take a committed artifact out of the store, for everybody: the manifest goes first, so that no half of it is ever seen."""
        self.writable()
        self.take_out(key)

    def take_out(self, key: str, spared: Callable[[], bool] = lambda: False) -> int | None:
        """As `set_aside`; the bytes of data that were freed, None for none. `spared` is asked between manifest and data: it may stay."""
        found = self.bucket.read(self.place(key))
        if found is None:
            return None
        self.bucket.delete([self.place(key)])
        stays = True
        try:
            stays = spared()
        finally:
            if stays:
                self.bucket.create(self.place(key), found[0])  # unless somebody made it again by now
        return None if stays else self.forget(key, found[0])

    def forget(self, key: str, manifest: bytes) -> int:
        """Remove the data of a key's manifest that is gone, and count their bytes; of one that is damaged, or another key's, `gc` does."""
        try:
            return self.remove_upload(upload_of(self.parsed(key, manifest)))
        except FabloomError:
            return 0

    def remove_upload(self, where: str) -> int:
        """Delete one upload; the bytes that were freed."""
        found = list(self.bucket.list(where))
        self.bucket.delete([entry.name for entry in found])
        return sum(entry.size for entry in found)
