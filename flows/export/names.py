"""Names of exported image files: those of the sources where the set has them, numbers elsewhere."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import PurePosixPath

from fabloom.kinds import ImageSet

LONGEST = 120
"""Most bytes of a name; 255 is the limit of common file systems."""


def file_names(images: ImageSet) -> list[str]:
    """The name without suffix of every image: its source's, with the row's number where images share one.

    Names come from files of strangers: folders are dropped, only letters, digits, `.`, `-`, `_` and spaces stay, and names that
    differ in case alone count as equal. Numbers alone where a set has no sources, or two names would still be equal.
    """
    numbers = [f"{row:06d}" for row in range(len(images))]
    if images.source is None:
        return numbers
    stems = [safe(name) for name in images.source_names]
    names = [stems[index] for index in images.source[...]]
    shared = Counter(name.casefold() for name in names)
    names = [f"{n}-{number}" if shared[n.casefold()] > 1 else n for n, number in zip(names, numbers, strict=True)]
    return names if len({name.casefold() for name in names}) == len(names) else numbers


def safe(name: str) -> str:
    """The stem of a source's name as a file name."""
    stem = re.sub(r"[^\w.\- ]", "_", PurePosixPath(name.replace("\\", "/")).stem).strip(" .")
    return stem.encode()[:LONGEST].decode(errors="ignore") or "image"


def origins(images: ImageSet) -> list[str] | None:
    """The source's name of every image; None where the set has no sources."""
    return None if images.source is None else [images.source_names[index] for index in images.source[...]]
