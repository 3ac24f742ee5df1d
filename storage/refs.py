"""Refs of a local folder: mutable names for artifacts, each an append-only log in a file of its own."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from fabloom.durable import write_durably
from fabloom.errors import DamagedArtifact
from fabloom.hashing import canonical_json
from fabloom.kinds.store import RefEntry
from fabloom.locks import locked
from fabloom.regular import STRANGE, read_regular

from .reflog import NAME, SUFFIX, RefLog, entries_of, summed

__all__ = ["LOCK", "NAME", "SUFFIX", "LocalRefs", "entries_of"]

LOCK = ".lock"
"""In the folder of refs: held while one of them changes."""


class LocalRefs(RefLog):
    """`refs/<name>.json`: a JSON list of entries with sums, oldest first; a plain key in it is an entry of a store older than the log.

    Every change reads, appends and replaces the file under one lock, so that of several writers at once none is lost.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def _file(self, name: str) -> Path:
        return self.root / f"{self.checked(name)}{SUFFIX}"

    def names(self) -> list[str]:
        """All refs but deleted ones, also those in whose place no file is: nobody may decide as if they were not there. Raises OSError."""
        found = []
        for folder, below, files in os.walk(self.root, onerror=_raise):
            odd = [name for name in below if name.endswith(SUFFIX)]
            below[:] = sorted(set(below) - set(odd))
            found += [Path(folder, name).relative_to(self.root).as_posix() for name in (*files, *odd) if name.endswith(SUFFIX)]
        return sorted(name for path in found if self.safe(name := path.removesuffix(SUFFIX)) and not self._is_deleted(name))

    def exists(self, name: str) -> bool:
        """Whether anything is in the place of the ref's file."""
        return os.path.lexists(self._file(name))

    def read(self, name: str) -> list[RefEntry]:
        """The log as the file has it."""
        path = self._file(name)
        if not os.path.lexists(path):
            raise self.unknown(name)
        try:
            return entries_of(json.loads(read_regular(path)), name)
        except (ValueError, TypeError, RecursionError) as error:
            raise DamagedArtifact(f"ref '{name}' is damaged ({error}). Remove '{path}' and set it again.") from error
        except OSError as error:
            if error.errno not in {errno.ENOENT, *STRANGE}:
                raise
            raise DamagedArtifact(f"ref '{name}' is damaged ('{path}' is no file). Remove it and set the ref again.") from error

    def write(self, name: str, entries: Sequence[RefEntry]) -> None:
        """Replace the file, durably."""
        path = self._file(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_durably(path, canonical_json(summed(entries, name)))

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the lock of all refs."""
        self.root.mkdir(parents=True, exist_ok=True)
        with locked(self.root / LOCK, lambda pid: None, lambda: False):
            yield


def _raise(error: OSError) -> None:
    """For a walk: what cannot be listed is an error, what is not there is not."""
    if not isinstance(error, FileNotFoundError):
        raise error
