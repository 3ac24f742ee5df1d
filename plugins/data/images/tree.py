"""The files of a folder by their names alone, and the documents among them, read within bounds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any
from unicodedata import normalize

from fabloom.errors import DataError

from .documents import read_json, read_xml

SUFFIXES = frozenset({
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".tif", ".tiff", ".btf", ".i01", ".npy", ".webp", ".gif", ".ppm", ".pgm",
    ".pbm", ".pnm", ".pfm", ".jp2", ".j2k", ".jpx", ".tga", ".pcx", ".sgi", ".avif",
})  # fmt: skip
"""Of files that are images."""
DEEPEST = 12
"""Folders within folders."""
MOST = 2_000_000
"""Files of a tree."""


def is_image(name: str) -> bool:
    """Whether a file of this name is read as an image."""
    return name[name.rfind(".") :].lower() in SUFFIXES


def stem(name: str) -> str:
    """A name without suffix in one form: 'é' is one character in some file systems and archives, and two in others."""
    return normalize("NFC", os.path.splitext(name)[0])  # noqa: PTH122  no path is made for each of many files


class Tree:
    """What lies below a folder, or one file: `folders` maps each folder's name ('' is the root) to the names of its files, sorted.

    Hidden files are left out, links to folders refused. Nothing but these names is ever opened, whatever an annotation says.
    """

    def __init__(self, root: Path) -> None:
        self.single = root.is_file()
        self.root = root.parent if self.single else root
        self.folders: dict[str, list[str]] = {}
        self._documents: dict[str, Any] = {}
        self._count = 0
        if self.single:
            self.folders[""] = [root.name]
        elif root.is_dir():
            self._walk("", 0)
        else:
            raise DataError(f"{root}: no such file or folder")

    def _walk(self, folder: str, depth: int) -> None:
        if depth > DEEPEST:
            raise DataError(f"{self.root / folder}: lies more than {DEEPEST} folders deep; give a folder nearer to the images")
        with os.scandir(self.root / folder) as entries:
            seen = [
                (entry.name, entry.is_dir()) for entry in entries if not entry.name.startswith(".") and (entry.is_dir() or entry.is_file())
            ]
        self.folders[folder] = sorted(name for name, inside in seen if not inside)
        self._count += len(seen)
        if self._count > MOST:
            raise DataError(f"{self.root}: holds more than {MOST:,} files; give a folder nearer to the images")
        for name in sorted(name for name, inside in seen if inside):
            self._walk(f"{folder}/{name}" if folder else name, depth + 1)

    def path(self, name: str) -> Path:
        """Of a file or folder named relative to the root."""
        return self.root / name

    def images(self, folder: str = "") -> list[str]:
        """Images right in a folder, named relative to the root."""
        return self._images.get(folder, [])

    @cached_property
    def _images(self) -> dict[str, list[str]]:
        """Images by folder."""
        named = {
            folder: [f"{folder}/{name}" if folder else name for name in names if is_image(name)] for folder, names in self.folders.items()
        }
        return {folder: names for folder, names in named.items() if names}

    def inside(self, folder: str) -> list[str]:
        """The folders right in a folder that hold images, themselves or deeper, by their own names."""
        before = f"{folder}/" if folder else ""
        return sorted(
            {name[len(before) :].partition("/")[0] for name in self.pictured if name != folder and name.startswith(before)} - {""}
        )

    @cached_property
    def pictured(self) -> list[str]:
        """The folders with images right in them."""
        return list(self._images)

    def every(self) -> Iterator[str]:
        """The names of all files, relative to the root."""
        for folder, names in self.folders.items():
            yield from (f"{folder}/{name}" if folder else name for name in names)

    @cached_property
    def known(self) -> dict[str, str]:
        """Every file by its name in one Unicode form."""
        return {normalize("NFC", name): name for name in self.every()}

    @cached_property
    def by_last(self) -> dict[str, list[str]]:
        """Images by the last part of their names."""
        found: dict[str, list[str]] = {}
        for folder in self.pictured:
            for name in self.images(folder):
                found.setdefault(normalize("NFC", name.rpartition("/")[2]), []).append(name)
        return found

    def locate(self, said: str, beside: str) -> str | None:
        """The image that an annotation means by `said`: from its own folder, the root or `images/`, else the only one so called.

        None where there is none. Names are looked up among the files of the tree, so that none leads out of it. Raises DataError
        where several files are so called.
        """
        wanted = normalize("NFC", said.replace("\\", "/"))
        for folder in (beside, "", "images", f"{beside}/images"):
            tried = os.path.normpath(f"{folder}/{wanted}" if folder else wanted)
            if tried in self.known and is_image(tried):
                return self.known[tried]
        same = self.by_last.get(PurePosixPath(wanted).name, [])
        if len(same) > 1:
            raise DataError(f"{self.root}: '{said}' may be '{same[0]}' or '{same[1]}'; write the name of the folder into the annotation")
        return same[0] if same else None

    def json(self, name: str) -> Any:
        """The content of a JSON file. Raises DataError for what is none or too large."""
        return self._once(name, lambda path: _without_pixels(read_json(path)))

    def xml(self, name: str) -> Any:
        """The root element of an XML file. Raises DataError for what is none, too large, or declares entities."""
        return self._once(name, read_xml)

    def _once(self, name: str, read: Any) -> Any:
        if name not in self._documents:
            self._documents[name] = read(self.path(name))
        return self._documents[name]


def _without_pixels(content: Any) -> Any:
    """A document without the image that LabelMe stores in it."""
    if isinstance(content, dict):
        content.pop("imageData", None)
    return content
