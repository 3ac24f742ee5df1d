"""Lists of boxes: a text file for each image, a line LEFT TOP RIGHT BOTTOM and perhaps a class, in pixels; so DeepPCB is annotated."""

from __future__ import annotations

from fabloom.errors import DataError
from fabloom.plugins.data.images.documents import read_bounded
from fabloom.plugins.data.images.entries import UNNAMED, Shape
from fabloom.plugins.data.images.tree import Tree

from .drawn import number

NUMBERS = (4, 5)
"""Of a line: with or without a class, which is not told apart."""


def boxes(tree: Tree, name: str) -> tuple[Shape, ...]:
    """The boxes of one list, none of an empty one. Raises DataError, naming file and line, for a list that is missing or no list."""
    path = tree.path(name)
    if name not in tree.every():
        raise DataError(f"{path}: is not in the folder, though box_lists names it for an image; add it, empty where nothing was found")
    try:
        lines = read_bounded(path).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{path}: is no text; mend or remove it") from None
    return tuple(_box(f"{path}, line {at}", line) for at, line in enumerate(lines, start=1) if line.strip())


def _box(where: str, line: str) -> Shape:
    words = line.replace(",", " ").split()
    if len(words) not in NUMBERS:
        raise DataError(f"{where}: '{line[:60]}' has {len(words)} words; a line is LEFT TOP RIGHT BOTTOM, perhaps with a class")
    left, top, right, bottom = (number(where, word) for word in words[:4])
    if not (0 <= left < right and 0 <= top < bottom):
        raise DataError(f"{where}: a box from {left:g}, {top:g} to {right:g}, {bottom:g}; mend or remove it")
    return Shape(UNNAMED, box=(left, top, right - left, bottom - top))
