"""What every store answers alike, once it can list keys and read manifests: artifacts of their kind, names, lineage."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from fabloom.errors import EnvironmentProblem, PluginError, UserError, did_you_mean
from fabloom.kinds import BUILTIN_KINDS, Artifact, Reader
from fabloom.kinds.store import Refs
from fabloom.planning import given

HEX = frozenset("0123456789abcdef")
SHORTEST = 6
"""Characters of a key that are enough where they are unique."""


class BaseStore:
    """Subclass it with `refs`, `url`, `keys`, `has`, `manifest` and `reader`; `beginning` may be made faster than a look at all keys."""

    refs: Refs
    read_only: bool = False
    joins: bool = False
    """Whether what it stages can be joined from parts (`join`), so that several workers can make one artifact."""

    def __init__(self, kinds: Mapping[str, type[Artifact]] | None = None) -> None:
        self.kinds = {kind.kind: kind for kind in BUILTIN_KINDS} | dict(kinds or {})

    @property
    def url(self) -> str:
        """What `--store` takes to open this store again."""
        raise NotImplementedError

    def keys(self) -> Iterator[str]:
        """All committed keys, sorted."""
        raise NotImplementedError

    def has(self, key: str) -> bool:
        """True once the artifact is committed."""
        raise NotImplementedError

    def manifest(self, key: str) -> dict[str, Any]:
        """The checked manifest. Raises UserError for an unknown key, DamagedArtifact for a damaged manifest."""
        raise NotImplementedError

    def reader(self, key: str, manifest: Mapping[str, Any]) -> Reader:
        """The committed bytes of an artifact whose manifest was read."""
        raise NotImplementedError

    def get(self, key: str) -> Artifact:
        """The committed artifact, of its kind's class."""
        manifest = self.manifest(key)
        kind = self.kinds.get(manifest["kind"])
        if kind is None:
            raise PluginError(f"artifact {key[:12]} is of kind '{manifest['kind']}', which no installed plugin declares; {_cure(manifest)}")
        return kind(self.reader(key, manifest))

    def beginning(self, text: str) -> Iterable[str]:
        """Committed keys that begin with `text`."""
        return [key for key in self.keys() if key.startswith(text)]

    def resolve(self, text: str) -> str:
        """The key that a key, a unique beginning of one (6 characters), `ref:NAME`, `key:HEX` or a ref's name stands for."""
        if text.startswith("ref:"):
            return self.refs.get(text[4:])
        wanted = text.removeprefix("key:")
        plain = bool(wanted) and set(wanted) <= HEX
        if plain and len(wanted) >= SHORTEST:
            matches = sorted(self.beginning(wanted))
            if len(matches) == 1:
                return matches[0]
            if matches:
                raise UserError(f"'{wanted}' begins {len(matches)} keys; give more of it: {', '.join(matches[:4])}")
        names = self.refs.names()
        if wanted in names:
            return self.refs.get(wanted)
        if plain and len(wanted) < SHORTEST:
            raise UserError(f"'{wanted}' is too short for a key: give at least its first {SHORTEST} characters")
        raise UserError(f"no artifact or ref '{wanted}' in '{self.url}'.{did_you_mean(text, names)} See `fabloom artifacts`.")

    def lineage(self, key: str) -> dict[str, dict[str, Any]]:
        """Manifests of the artifact and everything it was made from, nearest first; an input that is not there any more is left out."""
        found: dict[str, dict[str, Any]] = {}
        queue = deque([key])
        while queue:
            current = queue.popleft()
            if current not in found and (current == key or self.has(current)):
                found[current] = self.manifest(current)
                for value in found[current]["preimage"]["inputs"].values():
                    queue.extend(value if isinstance(value, list) else [value])
        return found

    def put(self, artifact: Artifact) -> Artifact:
        """Keep an artifact that no step made, as `ImageSet.from_arrays` gives it, and return what lies here: equal content has one key."""
        self.writable()
        kept: Any = self  # a subclass is a whole store
        return given.put(kept, artifact)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.url!r})"

    def pinned(self, keys: Iterable[str]) -> AbstractContextManager[None]:
        """Nothing to do where nobody but this process removes artifacts."""
        return nullcontext()

    def writable(self) -> None:
        """Raise EnvironmentProblem where this store was opened for reading only."""
        if self.read_only:
            raise EnvironmentProblem(f"store '{self.url}' was opened read-only. Open it for writing, or give another one to --store.")


def _cure(manifest: Mapping[str, Any]) -> str:
    """What to install for the kind of an artifact, as far as its manifest says where it is from."""
    if given.is_given(manifest["preimage"]["task"]):
        return "it was put there, by no step. Install the plugin that its kind is from."
    made_by = manifest.get("plugin") or {}
    return f"{made_by.get('distribution', 'an unknown plugin')} {made_by.get('version', '')}".strip() + " made it. Install that."
