"""Refs: mutable names for artifacts, each with its history so that a promotion can be rolled back."""

from __future__ import annotations

import json
import re
from pathlib import Path

from fabloom.errors import DamagedArtifact, UserError, did_you_mean
from fabloom.hashing import canonical_json
from fabloom.storage.commit.manifest import write_durably

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*(/[A-Za-z0-9][A-Za-z0-9_.\-]*)*")


class Refs:
    """`refs/<name>.json`: a JSON list of keys, the last is current."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def _file(self, name: str) -> Path:
        if not NAME.fullmatch(name) or len(name) > 200:
            raise UserError(f"'{name}' is no ref name: letters, digits, '_', '.', '-', parts joined by '/'")
        return self.root / f"{name}.json"

    def names(self) -> list[str]:
        """All refs."""
        return sorted(p.relative_to(self.root).as_posix()[:-5] for p in self.root.rglob("*.json") if not p.name.startswith("."))

    def history(self, name: str) -> list[str]:
        """Keys the ref has pointed at, oldest first. Raises UserError for an unknown ref."""
        path = self._file(name)
        if not path.is_file():
            raise UserError(f"there is no ref '{name}'.{did_you_mean(name, self.names())} Set one with `fabloom ref set NAME KEY`.")
        try:
            keys: list[str] = json.loads(path.read_bytes())
            if not keys or not all(isinstance(key, str) for key in keys):
                raise ValueError("no list of keys")
        except (ValueError, TypeError) as error:
            raise DamagedArtifact(f"ref '{name}' is damaged ({error}). Remove '{path}' and set it again.") from error
        return keys

    def get(self, name: str) -> str:
        """The key the ref points at."""
        return self.history(name)[-1]

    def set(self, name: str, key: str) -> None:
        """Point the ref at `key`, remembering what it pointed at before."""
        path = self._file(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        past = self.history(name) if path.is_file() else []
        if past[-1:] != [key]:
            write_durably(path, canonical_json([*past, key]))

    def rollback(self, name: str) -> str:
        """Point the ref at what it pointed at before, and return that key."""
        past = self.history(name)
        if len(past) < 2:
            raise UserError(f"ref '{name}' has no earlier artifact to roll back to")
        write_durably(self._file(name), canonical_json(past[:-1]))
        return past[-2]
