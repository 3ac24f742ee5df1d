"""Checking and cleaning a store in a bucket, and what this machine keeps for it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fabloom.errors import DamagedArtifact, FabloomError, UserError
from fabloom.hashing import blake_pieces
from fabloom.planning.keys import whole_of
from fabloom.storage.backends.local import STAMP
from fabloom.storage.commit.manifest import DATA, tree_digest
from fabloom.storage.gc import inputs_in, is_awaited, sweep, users_first
from fabloom.storage.verify import LOOKS, Health, broken_refs, leftovers_of, maker_of, twice_made

from . import pins
from .bucket import Entry, together
from .publish import OBJECTS, upload_of
from .store import GRACE, MANIFESTS
from .wanted import Wanted

if TYPE_CHECKING:
    from .store import ObjectStore


@dataclass
class Upload:
    """What lies of one upload: whose it is, bytes of its objects, and when the last one came."""

    key: str
    where: str
    size: int = 0
    last: float = 0.0

    def add(self, entry: Entry) -> None:
        """Count an object in."""
        self.size += entry.size
        self.last = max(self.last, entry.modified)


class ObjectUpkeep:
    """Of an `ObjectStore`."""

    def __init__(self, store: ObjectStore) -> None:
        self.store, self.bucket = store, store.bucket

    # ------------------------------------------------------------------------------------------------------ verify

    def verify(self, key: str | None = None) -> Health:
        """Hash every byte of one artifact, or of all: everything is fetched once."""
        health = Health()
        for one in [key] if key else self.store.keys():
            health.checked += 1
            if problems := self._settled(one):
                health.problems[one] = problems
                health.steps |= {one: made} if (made := self._maker(one)) else {}
        health.warnings += twice_made(self.store.workspace, key)
        if key is None:
            health.problems |= broken_refs(self.store)
            health.problems |= {
                entry.name: ["no artifact"] for entry in self.bucket.list(MANIFESTS) if not self.store.is_manifest(entry.name)
            }
            for name, said in leftovers_of(self.store.workspace):
                health.leftovers.append(name)
                health.steps |= {name: said} if said else {}
            health.leftovers += [*pins.killed(self.store.pinning), *(upload.where for upload in self.unnamed())]
        return health

    def _settled(self, key: str) -> list[str]:
        """Problems of an artifact, looked at again where somebody removed or replaced it meanwhile."""
        problems: list[str] = []
        try:
            for _ in range(LOOKS):
                before = self.bucket.read(self.store.place(key))
                if before is None:
                    return []
                problems = self._problems(key, before[0])
                if not problems or before == self.bucket.read(self.store.place(key)):
                    break
        except FabloomError as error:
            problems.append(self._finding(error))
        return problems

    def _finding(self, error: FabloomError) -> str:
        """What is told of an object that cannot be read: it hides no other. Raises EnvironmentProblem where nothing of the bucket can."""
        self.bucket.look(STAMP)
        return str(error)

    def _problems(self, key: str, data: bytes) -> list[str]:
        try:
            manifest = self.store.parsed(key, data)
        except FabloomError as error:
            return [str(error)]
        files = {name: (size, digest) for name, (size, digest) in manifest["files"].items()}
        problems = [] if tree_digest(files) == manifest["digest"] else ["the manifest's digest does not follow from its files"]
        where = upload_of(manifest)
        found = {entry.name.removeprefix(f"{where}/"): entry.size for entry in self.bucket.list(where)}
        checked = together(lambda name: self._difference(where, name, *files[name], found.pop(f"{DATA}/{name}", None)), list(files))
        problems += [f"{name}: {odd}" for name, odd in zip(files, checked, strict=True) if odd]
        problems += [f"{name}: an object that was never committed" for name in found]
        gone = [one for one in sorted(inputs_in(manifest)) if not self.store.has(one)]
        return problems + [f"it was made from {one[:12]}, which is not in the store" for one in gone]

    def _difference(self, where: str, name: str, size: int, digest: str, found: int | None) -> str:
        if found is None:
            return "missing"
        if found != size:
            return f"{found} bytes instead of {size}"
        try:
            same = blake_pieces(self.bucket.stream(f"{where}/{DATA}/{name}")) == digest
        except FabloomError as error:
            return self._finding(error)
        return "" if same else "content differs from what was committed"

    def _maker(self, key: str) -> dict[str, str]:
        try:
            return maker_of(self.store.manifest(key))
        except FabloomError:
            return {}

    # ------------------------------------------------------------------------------------------------------ gc

    def uploads(self) -> dict[str, list[Upload]]:
        """Every upload that has an object, by key: one listing of all data."""
        found: dict[str, dict[str, Upload]] = {}
        for entry in self.bucket.list(OBJECTS):
            _, key, folder, *_ = [*entry.name.split("/"), ""]
            where = f"{OBJECTS}/{key}/{folder}"
            found.setdefault(key, {}).setdefault(where, Upload(key, where)).add(entry)
        return {key: list(uploads.values()) for key, uploads in found.items()}

    def unnamed(self) -> list[Upload]:
        """Uploads that no manifest names. Where a key has one upload and a manifest, that is the one: a manifest comes last."""
        keys, uploads = set(self.store.keys()), self.uploads()  # in this order: what is committed meanwhile is in neither or in both
        unclear = [key for key in uploads if key not in keys or len(uploads[key]) > 1]
        named = dict(zip(unclear, together(self._named, unclear), strict=True))
        return [upload for key in unclear for upload in uploads[key] if named[key] not in (upload.where, "unknown")]

    def _named(self, key: str) -> str:
        """The upload that the manifest of a key names; '' for no manifest, 'unknown' for a damaged one."""
        try:
            return upload_of(self.store.manifest(key))
        except DamagedArtifact:
            return "unknown"
        except UserError:
            return ""

    def sweep(self) -> tuple[list[str], int]:
        """Remove what dead runs of this machine left here, and from the bucket uploads that came to no manifest within a day."""
        paths, freed = sweep(self.store.workspace)
        removed = [str(path) for path in paths]
        limit = time.time() - GRACE
        for upload in self.unnamed():
            if upload.last < limit and self._named(upload.key) not in (upload.where, "unknown"):  # a step may have slept for a day
                freed += self.store.remove_upload(upload.where)
                removed.append(f"{self.store.url}/{upload.where}")
        removed += [f"{self.store.url}/{name}" for name in pins.clear_killed(self.bucket, self.store.pinning)]
        old = pins.dead(self.bucket)
        self.bucket.delete([entry.name for entry in old])
        return removed + [f"{self.store.url}/{entry.name}" for entry in old], freed + sum(entry.size for entry in old)

    def unreferenced(self, older_than_days: float) -> list[str]:
        """Keys that neither a ref nor a run reaches through lineage, and that were made more than so many days ago."""
        return self._unreached(Wanted(self.store), older_than_days)

    def _unreached(self, wanted: Wanted, older_than_days: float) -> list[str]:
        made = dict(self.store.ages())  # first: what is committed meanwhile is not asked about
        reached, limit = wanted.look(), time.time() - older_than_days * 86400
        found = [key for key, at in made.items() if key not in reached and at < limit]
        awaited = together(lambda key: is_awaited(self.store, key, wanted.pinned), found)
        return [key for key, needed in zip(found, awaited, strict=True) if not needed]

    def collect(self, older_than_days: float) -> tuple[list[str], int]:
        """Remove what is unreferenced, users first; what a run or a ref names meanwhile stays, with everything that it was made from.

        That is looked at before each artifact, and once more when its manifest is gone and its data are still there. Who pins first and
        then looks whether an artifact is there loses none.
        """
        removed, freed = [], 0
        wanted = Wanted(self.store)
        for key in users_first(self.store, self._unreached(wanted, older_than_days)):
            gone = self._discard(key, wanted)
            if gone is not None:
                removed.append(key)
                freed += gone
            elif self.store.has(key):
                wanted.keep(self.store.lineage(key))
        return removed, freed

    def _discard(self, key: str, wanted: Wanted) -> int | None:
        """Remove an artifact while its key is held here; the bytes that were freed, None where it stays, or is gone already."""
        try:
            whole = whole_of(self.store.manifest(key)["preimage"])
        except FabloomError:
            whole = ""

        def spared() -> bool:
            return key in wanted.look() or whole in wanted.pinned

        if spared():
            return None
        with self.store.lock(key, lambda pid: None, lambda: True) as held:
            return self.store.take_out(key, spared) if held else None
