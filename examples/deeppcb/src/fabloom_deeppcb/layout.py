"""Which files of a folder form a pair, and the boxes of its text file.

A pair is NAME_temp.jpg (template), NAME_test.jpg (tested image) and NAME.txt, beside them or, as in the published archive
(`group00041/00041` and `group00041/00041_not`), in the folder of the same name with `_not` at its end. The lists `trainval.txt`
and `test.txt` of the archive hold paths; they are not read, since no text of a data set decides which file is opened.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from fabloom import DataError

CLASSES = ("none", "open", "short", "mousebite", "spur", "copper", "pin-hole")
"""Class names; the index is the number that the files write."""
KINDS = {"_temp": "template", "_test": "tested image"}
BOX = re.compile(r"(\d{1,6}) (\d{1,6}) (\d{1,6}) (\d{1,6}) (\d{1,6})", re.ASCII)


@dataclass(frozen=True)
class Box:
    """A labelled defect: pixels x1 <= x < x2, y1 <= y < y2, and an index into `CLASSES`; `place` is FILE:LINE."""

    x1: int
    y1: int
    x2: int
    y2: int
    label: int
    place: str


@dataclass(frozen=True)
class Pair:
    """The three files of one piece of board."""

    name: str
    template: Path
    tested: Path
    text: Path


def find_pairs(root: Path) -> list[Pair]:
    """All pairs under `root` in the order of their names. Raises DataError for none at all and for missing partners."""
    if not root.is_dir():
        raise DataError(f"{root}: is no folder; give the folder that holds NAME_temp.jpg, NAME_test.jpg and NAME.txt")
    files = _files(root)
    images: dict[str, dict[str, Path]] = {}
    texts: dict[str, Path] = {}
    for name, path in files.items():
        stem = name.removesuffix(path.suffix)
        if path.suffix.lower() == ".txt":
            texts[stem] = path
        elif path.suffix.lower() == ".jpg":
            if stem[-5:] not in KINDS:
                raise DataError(f"{path}: an image of DeepPCB is named NAME_temp.jpg or NAME_test.jpg; rename or remove it")
            images.setdefault(stem[:-5], {})[stem[-5:]] = path
    if not images:
        raise DataError(f"{root}: no images NAME_temp.jpg and NAME_test.jpg in it ({len(files)} other files)")
    pairs = [_pair(name, found, texts) for name, found in sorted(images.items())]
    used = {pair.text for pair in pairs}
    for path in texts.values():  # LICENSE.txt and the lists of the archive are no annotations: those are named by digits
        if path.stem.isdecimal() and path not in used:
            raise DataError(f"{path}: no images {path.stem}_temp.jpg and {path.stem}_test.jpg belong to it; add or remove them")
    return pairs


def _files(root: Path) -> dict[str, Path]:
    """Every file that is not hidden, by its name relative to the root. Raises DataError for a link that leads out."""
    inside = root.resolve()
    found = {}
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for path in (Path(folder) / name for name in names if not name.startswith(".")):
            if not path.resolve().is_relative_to(inside):
                raise DataError(f"{path}: is a link that leads out of {root}; copy the file into the folder")
            found[path.relative_to(root).as_posix()] = path
    return dict(sorted(found.items()))


def _pair(name: str, images: dict[str, Path], texts: dict[str, Path]) -> Pair:
    for ending, what in KINDS.items():
        if ending not in images:
            (other,) = images.values()
            missing = other.with_name(f"{other.stem[:-5]}{ending}{other.suffix}")
            raise DataError(f"{other}: its {what} {missing.name} is missing; add it, or remove the image")
    folder, _, last = name.rpartition("/")
    text = texts.get(name) or texts.get(f"{folder}_not/{last}")
    if text is None:
        raise DataError(
            f"{images['_test']}: its boxes {last}.txt are missing, beside it and in '{folder}_not'; add them or remove the pair"
        )
    return Pair(name, images["_temp"], images["_test"], text)


def read_boxes(path: Path, height: int, width: int) -> list[Box]:
    """The boxes of a text file, one `x1 y1 x2 y2 class` a line, checked. Raises DataError with file and line."""
    try:
        lines = path.read_text("ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as text ({error}); replace it") from None
    boxes = []
    for number, line in enumerate(lines, 1):
        place = f"{path}:{number}"
        if not line.strip():
            continue
        match = BOX.fullmatch(line.strip())
        if match is None:
            raise DataError(f"{place}: {line[:60]!r} is not 'x1 y1 x2 y2 class' in whole numbers; mend the line")
        x1, y1, x2, y2, label = map(int, match.groups())
        if not 1 <= label < len(CLASSES):
            known = ", ".join(f"{index} {name}" for index, name in enumerate(CLASSES) if index)
            raise DataError(f"{place}: there is no class {label}; the classes are {known}")
        if not (x1 < x2 and y1 < y2):
            raise DataError(f"{place}: the box {x1} {y1} {x2} {y2} is empty; x1 must be below x2 and y1 below y2")
        if x2 > width or y2 > height:
            raise DataError(f"{place}: the box {x1} {y1} {x2} {y2} leaves the image of {width} x {height} pixels; mend the line")
        boxes.append(Box(x1, y1, x2, y2, label, place))
    if not boxes:
        raise DataError(f"{path}: holds no box, but every tested image of DeepPCB has a defect; the file may be cut short")
    return boxes
