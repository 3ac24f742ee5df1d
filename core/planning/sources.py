"""The files that a `Source` names, and their hash, remembered between runs."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from typing import Any

from fabloom.errors import DataError
from fabloom.hashing import blake, blake_file, canonical_json


def source_files(root: Path) -> list[tuple[str, Path]]:
    """(name relative to the root, path) of every file a source holds, sorted; hidden files are left out.

    A single file is named by its own name. Raises DataError where nothing is there or a link leads outside.
    """
    if root.is_file():
        return [(root.name, root)]
    if not root.is_dir():
        raise DataError(f"'{root}' does not exist. Give the path of a file or folder, e.g. with --set steps.NAME.params.path=FOLDER.")
    found: list[tuple[str, Path]] = []
    inside = root.resolve()
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in subfolders:
            if (Path(folder) / name).is_symlink():
                raise DataError(f"'{Path(folder) / name}' is a link to a folder. Put the folder itself there.")
        for name in sorted(names):
            path = Path(folder) / name
            if name.startswith(".") or not (path.is_file() or path.is_symlink()):
                continue
            if not path.exists():
                raise DataError(f"'{path}' is a link to nothing. Remove it, or copy the file into the folder.")
            if path.is_symlink() and not path.resolve().is_relative_to(inside):
                raise DataError(f"'{path}' is a link that leads out of '{root}'. Copy the file into the folder.")
            found.append((path.relative_to(root).as_posix(), path))
    return sorted(found)


class SourceCache:
    """Hashes sources, remembering files by (path, size, mtime, inode) so that an unchanged folder costs one stat a file.

    `file` holds the memory between runs (JSON); None keeps it in this process only.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self._known: dict[str, list[Any]] = {}
        if file is not None and file.is_file():
            try:
                self._known = json.loads(file.read_text())
            except ValueError:
                self._known = {}  # only a cache: an unreadable one is rebuilt

    def __call__(self, path: Path) -> str:
        entries = []
        changed = False
        for name, file in source_files(path):
            stat = file.stat()
            mark = [stat.st_size, stat.st_mtime_ns, stat.st_ino]
            place = str(file.resolve())
            known = self._known.get(place)
            if known is None or known[:3] != mark:
                known = [*mark, blake_file(file)]
                self._known[place] = known
                changed = True
            entries.append([name, stat.st_size, known[3]])
        if changed and self.file is not None and self.file.parent.is_dir():
            temporary = self.file.with_name(f"{self.file.name}.{os.getpid()}")
            with contextlib.suppress(OSError):  # only a cache: a full disk is told by what needs it
                temporary.write_text(json.dumps(self._known))
                temporary.replace(self.file)
        return blake(canonical_json(entries))
