"""What docs/concepts/store.md says of each damage to each kind of file: the oracle."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

BYTES = ("flip", "zero 512", "zero 4096", "truncate", "grow", "empty")
NO_FILE = ("folder", "link out", "link to itself", "link to a device", "FIFO", "socket", "device")
ALL = (*BYTES, "delete", *NO_FILE, "link to a sibling", "link to a copy", "swap", "overwrite", "no permission", "torn beside")
EQUAL = ("equal swap", "equal overwrite", "equal link to a sibling")


@dataclass(frozen=True)
class Promise:
    """What is said of a damage: whether `reading` the file's artifact or ref tells it ("marks": where the manifest marks it), whether
    `verify` does, and what a run afterwards does: "same" (as if nothing had been), "redo" (that heals it), "gc" (refuses with 3 until
    gc), "hand" (told, exit code 1 or 3, until somebody mends it).
    """

    reading: bool | str
    verify: bool
    run: str


PROMISES: Sequence[tuple[Sequence[str], Sequence[str], Promise]] = (
    (("manifest",), ("delete", "folder", "link to itself", "FIFO", "socket", "device", "link to a device"), Promise(True, True, "same")),
    (("manifest", "metadata", "data"), ("link to a copy", "torn beside"), Promise(False, True, "redo")),
    (("data",), EQUAL, Promise("marks", True, "redo")),
    (("staged",), EQUAL, Promise(False, False, "same")),
    (("manifest", "metadata", "data"), ALL, Promise(True, True, "redo")),
    (("ref",), ("delete",), Promise(True, False, "same")),
    (("ref",), ("torn beside",), Promise(False, False, "same")),
    (("ref",), ("link to a copy",), Promise(False, True, "same")),
    (("ref",), ALL, Promise(True, True, "same")),
    (("stamp",), ("delete", "link to a copy", "torn beside"), Promise(False, False, "same")),
    (("stamp",), ("empty",), Promise(True, True, "same")),
    (("stamp",), ALL, Promise(True, True, "hand")),
    (("lock",), (*NO_FILE, "link to a sibling", "link to a copy"), Promise(False, False, "gc")),
    (("lock", "mark"), ("no permission",), Promise(False, False, "hand")),
    (("lock", "pin", "ref lock", "sources", "journal", "staged"), ALL, Promise(False, False, "same")),
    (("note", "mark", "log", "differs", "page", "checkpoint"), ALL, Promise(False, False, "same")),
)  # fmt: skip
"""(files, damages, promise): the first line that fits counts. `equal`: between data files of one size, each sound in itself."""


def promised(place: str, damage: str) -> Promise:
    """What the page says of this damage to this file."""
    return next(promise for places, damages, promise in PROMISES if place in places and damage in damages)
