"""The files that a `Source` names, and their hash, remembered between runs."""

from __future__ import annotations

import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from fabloom.durable import write_durably
from fabloom.errors import DataError
from fabloom.hashing import blake, blake_file, canonical_json
from fabloom.regular import read_regular

TICK = 2_000_000_000
"""Nanoseconds: the coarsest clock of a file system in use (FAT's; ext4, xfs and tmpfs have that of the kernel's timer)."""


def source_files(root: Path) -> list[tuple[str, Path]]:
    """(name relative to the root, path) of every file a source holds, sorted; hidden files are left out.

    A single file is named by its own name. Raises DataError where nothing is there or a link leads outside.
    """
    if root.is_file():
        return [(_text(root.name, str(root)), root)]
    if not root.is_dir():
        raise DataError(f"'{root}' does not exist. Give the path of a file or folder, e.g. with --set steps.NAME.params.path=FOLDER.")
    return [(name, Path(place)) for name, place, _ in _walk(root)]


def _walk(root: Path) -> list[tuple[str, str, os.stat_result]]:
    """(name, path, state) of every file under a folder, sorted by name: one scan a folder and one stat a file."""
    found: list[tuple[str, str, os.stat_result]] = []
    waiting = [(str(root), "")]
    while waiting:
        folder, above = waiting.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                _text(entry.name, entry.path)
                if entry.is_dir():
                    if entry.is_symlink():
                        raise DataError(f"'{entry.path}' is a link to a folder. Put the folder itself there.")
                    waiting.append((entry.path, f"{above}{entry.name}/"))
                elif entry.is_symlink():
                    found.append((above + entry.name, entry.path, _led(root, Path(entry.path))))
                elif entry.is_file():
                    found.append((above + entry.name, entry.path, entry.stat()))
    return sorted(found, key=lambda one: one[0])


def _text(name: str, path: str) -> str:
    """The name, which enters a key. Raises DataError for bytes that are no text."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise DataError(f"{path!a}: the name is not UTF-8, and could not be written down anywhere. Rename it.") from None
    return name


def _led(root: Path, link: Path) -> os.stat_result:
    """The state of the file that a link leads to. Raises DataError where it leads to nothing, or out of the root."""
    if not link.exists():
        raise DataError(f"'{link}' is a link to nothing. Remove it, or copy the file into the folder.")
    if not link.resolve().is_relative_to(root.resolve()):
        raise DataError(f"'{link}' is a link that leads out of '{root}'. Copy the file into the folder.")
    return link.stat()


class SourceCache:
    """Hashes sources, remembering files by (path, size, mtime, ctime, inode), so that an unchanged folder costs one stat a file.

    The ctime is what tells a file that was replaced or edited and given its old size and mtime back: no program can set it. It
    advances with the kernel's clock alone, so a file that changed within the last `TICK` is read but not remembered: the next change
    could look the same. `file` holds the memory between runs (JSON behind its hash); None keeps it in this process only. What another
    process remembered there meanwhile counts more than what this one has.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self._known: dict[str, list[Any]] = {}
        self._seen: tuple[int, ...] = ()
        self._look()

    def __call__(self, path: Path) -> str:
        self._look()
        return self._hash(path)

    def anew(self, path: Path) -> str:
        """The same from every byte, whatever is remembered; and remember that."""
        self._look()
        return self._hash(path, trusting=False)

    def _hash(self, path: Path, *, trusting: bool = True) -> str:
        entries = []
        before = dict(self._known)
        if not path.exists():
            source_files(path)  # says so, where a path that leads in a circle cannot be resolved
        root = path.resolve()
        files = _walk(root) if root.is_dir() else [(path.name, str(root), root.stat()) for _ in source_files(path)]
        for name, place, state in files:
            mark = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
            known = self._known.get(place)
            if not trusting or known is None or known[:4] != mark:
                at_rest = state.st_ctime_ns < time.time_ns() - TICK
                known = [*mark, blake_file(Path(place))]
                self._known.pop(place, None)
                if at_rest:
                    self._known[place] = known
            entries.append([name, state.st_size, known[4]])
        if self._known != before and self.file is not None and self.file.parent.is_dir():
            body = json.dumps(self._known).encode()
            with contextlib.suppress(OSError):  # only a cache: a full disk is told by what needs it
                write_durably(self.file, blake(body).encode() + b"\n" + body)
                self._seen = _state(self.file)
        return blake(canonical_json(entries))

    def _look(self) -> None:
        """Take in what lies in the file, where it is not what was last seen there."""
        if self.file is not None and (state := _state(self.file)) != self._seen:
            self._known.update(_remembered(self.file))
            self._seen = state


def _state(file: Path) -> tuple[int, ...]:
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _remembered(file: Path) -> dict[str, list[Any]]:
    """What a cache wrote: its hash in the first line, JSON behind. Anything else counts for nothing, and is rebuilt."""
    try:
        claimed, _, body = read_regular(file).partition(b"\n")
        found = json.loads(body) if blake(body).encode() == claimed else {}
        return {place: known for place, known in found.items() if [type(one) for one in known] == [int, int, int, int, str]}
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
