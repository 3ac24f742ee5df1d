"""Which files of a folder are images, what their folder says about them, and which mask belongs to which."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from unicodedata import normalize

from fabloom.errors import DataError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".npy"})
FOLDERS = {"clean": 0, "defect": 1}
KNOWN = "one file, a flat folder, or a folder with clean/ and defect/, each with an optional masks/"


@dataclass(frozen=True)
class Entry:
    """An image file: name relative to the root, domain (0 clean, 1 defect, None unknown) and mask file."""

    name: str
    path: Path
    domain: int | None
    mask: Path | None


def scan(root: Path, masks: Path | None, clean: Sequence[str], defect: Sequence[str]) -> list[Entry]:
    """All images under `root`, sorted by name. Raises DataError for an empty or ambiguous layout and unmatched masks."""
    if root.is_file():
        files = [root]
        root = root.parent
    elif root.is_dir():
        if masks is None and (root / "masks").is_dir():
            masks = root / "masks"
        files = _images(root, masks)
    else:
        raise DataError(f"{root}: no such file or folder")
    if not files:
        found = sorted({p.suffix or p.name for p in root.rglob("*") if p.is_file() and not p.name.startswith(".")})
        raise DataError(f"{root}: no images ({', '.join(sorted(SUFFIXES))}) in it" + (f", only {', '.join(found[:8])}" if found else ""))
    named, names = _unique(root, files), _names(root, files)
    domains = {stem: _domain(names[path], clean, defect) for stem, path in named.items()}
    for option, patterns in (("clean", clean), ("defect", defect)):
        idle = [p for p in patterns if not any(_matches(name, (p,)) for name in names.values())]
        if idle:
            hint = f"set {option}=[] where clean/ and defect/ folders say it"
            raise DataError(f"{option} pattern '{idle[0]}' matches no file in {root}; {hint}")
    paired = _pair(domains, _masks(masks)) if masks is not None else {}
    return [
        Entry(names[path], path, domains[stem], paired.get(stem)) for stem, path in sorted(named.items(), key=lambda item: names[item[1]])
    ]


def _names(root: Path, files: Sequence[Path]) -> dict[Path, str]:
    """Names of files below `root`, relative to it; cut from the path, since `relative_to` takes 20 times as long."""
    before = len(str(root / "_")) - 1
    return {path: str(path)[before:] for path in files}


def _files(folder: Path) -> list[Path]:
    """The image files right in a folder, by name; one scan, since a folder may hold many."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not entry.name.startswith(".") and entry.is_file())
    return [path for path in map(folder.joinpath, names) if path.suffix.lower() in SUFFIXES]


def _images(root: Path, masks: Path | None) -> list[Path]:
    """Images of a flat folder or of clean/ and defect/, never of both."""
    with os.scandir(root) as entries:
        inside = {entry.name for entry in entries if not entry.name.startswith(".") and entry.is_dir()}
    folders = {name for name in inside if masks is None or not (root / name).samefile(masks)}
    strange = sorted(folders - FOLDERS.keys() - {"masks"})
    if strange:
        raise DataError(f"{root}: folder '{strange[0]}' is none of clean, defect, masks. Known layouts: {KNOWN}")
    flat = _files(root)
    nested = [path for name in sorted(folders & FOLDERS.keys()) for path in _files(root / name)]
    if flat and nested:
        raise DataError(f"{root}: images beside clean/ and defect/ ('{flat[0].name}'); move them into one of these folders")
    return flat or nested


def _unique(root: Path, files: Sequence[Path]) -> dict[str, Path]:
    """Name without suffix to file, in one form: 'é' is one character in some file systems and archives, and two in others."""
    named: dict[str, Path] = {}
    for path, name in _names(root, files).items():
        stem = normalize("NFC", name.removesuffix(path.suffix))
        if stem in named:
            raise DataError(f"{root}: '{named[stem].name}' and '{path.name}' are two files of one name; remove or rename one")
        named[stem] = path
    return named


def _matches(name: str, patterns: Sequence[str]) -> bool:
    name = normalize("NFC", name)
    return any(fnmatchcase(candidate, normalize("NFC", p)) for p in patterns for candidate in (name, name.rpartition("/")[2]))


def _domain(name: str, clean: Sequence[str], defect: Sequence[str]) -> int | None:
    folder, slash, _ = name.partition("/")
    votes = {FOLDERS[folder]} if slash else set()
    votes |= ({0} if _matches(name, clean) else set()) | ({1} if _matches(name, defect) else set())
    if len(votes) > 1:
        raise DataError(f"'{name}' is both clean and defect; check its folder and the patterns `clean` and `defect`")
    return votes.pop() if votes else None


def _masks(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"{folder}: the masks must be a folder")
    found = _unique(folder, [*_files(folder), *(p for name in FOLDERS if (folder / name).is_dir() for p in _files(folder / name))])
    if not found:
        raise DataError(f"{folder}: no masks in it; remove the folder or add a mask for every defect image")
    return found


def _pair(domains: dict[str, int | None], masks: dict[str, Path]) -> dict[str, Path]:
    """Mask of each image, by the same name or the same last part of it. Only a clean image may lack one."""
    paired, used = {}, set()
    last = [PurePosixPath(stem).name for stem in domains]
    for stem, domain in domains.items():
        short = PurePosixPath(stem).name
        if stem not in masks and short in masks and last.count(short) > 1:
            raise DataError(f"mask '{short}' fits several images; put masks into masks/clean and masks/defect")
        name = stem if stem in masks else short
        if name in masks:
            paired[stem] = masks[name]
            used.add(name)
        elif domain != 0:
            raise DataError(f"image '{stem}' has no mask of its name; add one, or say that it is clean (clean/ or the `clean` pattern)")
    unused = sorted(masks.keys() - used)
    if unused:
        raise DataError(f"mask '{masks[unused[0]].name}' has no image of its name; rename or remove it")
    return paired
