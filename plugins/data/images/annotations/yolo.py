"""YOLO: a text file of `labels/` for each image of `images/`, a line an object, in shares of width and height.

    CLASS X Y WIDTH HEIGHT          a box about its middle
    CLASS X1 Y1 X2 Y2 X3 Y3 ...     a polygon

Classes are numbers from 0, named by data.yaml (`names`) or classes.txt. An empty file says that nothing was found on its image.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from fabloom import plain_yaml
from fabloom.errors import DataError
from fabloom.plugins.data.images.documents import read_bounded
from fabloom.plugins.data.images.entries import Scene, Shape
from fabloom.plugins.data.images.tree import Tree, stem

from .drawn import Drawn, chosen, missing, number, outline, scene, text_of

if TYPE_CHECKING:
    from fabloom.plugins.data.images.params import LoadParams

LABELS, IMAGES, NAMES = "labels", "images", "classes.txt"
SETS = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
"""Files that name the classes of a set, beside classes.txt."""
OUT = 1e-3
"""A coordinate may reach so far out of the image, as a share: tools round."""


def yolo_files(tree: Tree) -> list[str]:
    """The label files of a tree, by their places alone: `labels/` where `images/` holds the images, both perhaps in or over train/."""
    return [
        name for name in tree.every() if name.endswith(".txt") and (folder := _images_of(name)) is not None and folder in tree.pictured
        and name.rpartition("/")[2] != NAMES
    ]  # fmt: skip


def _images_of(name: str) -> str | None:
    """The folder of images that goes with a label file's; None for a file that lies in no `labels`."""
    parts = name.split("/")[:-1]
    if LABELS not in parts:
        return None
    place = len(parts) - 1 - parts[::-1].index(LABELS)
    return "/".join([*parts[:place], IMAGES, *parts[place + 1 :]])


def yolo(tree: Tree, params: LoadParams, documents: list[str]) -> Scene:
    """Images with the boxes and polygons of their label files."""
    files = chosen(tree, documents, "yolo", params)
    named, known = _names(tree)
    drawn: dict[str, Drawn] = {}
    for document in files:
        beside = [name for name in tree.images(_images_of(document) or "") if stem(name).rpartition("/")[2] == _last(document)]
        if len(beside) != 1:
            if beside:
                raise DataError(f"{tree.path(document)}: '{beside[0]}' and '{beside[1]}' both carry its name; remove or rename one")
            missing(tree, document, f"{_images_of(document)}/{_last(document)}.*", params)
            continue
        drawn[beside[0]] = Drawn(_shapes(tree, document, named))
    return scene("yolo", tree, drawn, [*files, *known], params)


def _last(document: str) -> str:
    return stem(document).rpartition("/")[2]


def _shapes(tree: Tree, document: str, named: Mapping[int, str]) -> list[Shape]:
    where, shapes = str(tree.path(document)), []
    for line, text in enumerate(_lines(tree, document), start=1):
        words = text.split()
        if words:
            shapes.append(_shape(f"{where}, line {line}", words, named))
    return shapes


def _shape(where: str, words: Sequence[str], named: Mapping[int, str]) -> Shape:
    if not words[0].isdecimal() or not words[0].isascii() or len(words[0]) > 6:
        raise DataError(f"{where}: begins with {words[0][:40]!r}, not with the number of a class; a line is CLASS X Y WIDTH HEIGHT")
    if int(words[0]) not in named:
        known = ", ".join(f"{value} {name}" for value, name in list(named.items())[:8])
        told = f"named are {known}" if named else "nothing names the classes: add data.yaml with `names`, or classes.txt with a name a line"
        raise DataError(f"{where}: class {words[0]} has no name; {told}")
    label, values = named[int(words[0])], [number(where, word) for word in words[1:]]
    if len(values) == 5:
        raise DataError(f"{where}: has five numbers after its class; with a confidence it is a prediction, not a truth. Take that off")
    if len(values) == 4:
        (x, y, width, height) = values
        if min(width, height) <= 0:
            raise DataError(f"{where}: a box of {width:g} x {height:g}; mend or remove it")
        left, top = _inside(where, x - width / 2), _inside(where, y - height / 2)
        _inside(where, x + width / 2), _inside(where, y + height / 2)
        return Shape(label, box=(left, top, width, height), relative=True)
    return Shape(label, (outline(where, [_inside(where, value) for value in values]),), relative=True)


def _inside(where: str, value: float) -> float:
    """A share of the image's side. Raises DataError for pixels, which other tools write."""
    if not -OUT <= value <= 1 + OUT:
        raise DataError(f"{where}: {value:g} lies outside of 0 to 1; YOLO counts in shares of width and height")
    return value


def _names(tree: Tree) -> tuple[dict[int, str], list[str]]:
    """Class names by number, and the files that say so. Raises DataError where two files disagree."""
    said: dict[str, dict[int, str]] = {}
    for name in tree.every():
        last = name.rpartition("/")[2]
        if last in SETS:
            found = _of_yaml(tree, name)
        elif last == NAMES:
            found = {
                place: text_of(str(tree.path(name)), line) for place, line in enumerate(line for line in _lines(tree, name) if line.strip())
            }
        else:
            continue
        if found:
            said[name] = found
    first = next(iter(said.items()), ("", {}))
    odd = next((name for name, names in said.items() if names != first[1]), None)
    if odd is not None:
        raise DataError(f"{tree.root}: '{first[0]}' and '{odd}' name other classes; remove one")
    return first[1], list(said)


def _of_yaml(tree: Tree, name: str) -> dict[int, str]:
    where = str(tree.path(name))
    try:
        content: Any = plain_yaml.load(read_bounded(tree.path(name)).decode("utf-8"))
    except (plain_yaml.NotPlain, UnicodeDecodeError) as error:
        raise DataError(f"{where}: cannot be read: {str(error)[:200]}") from None
    names = content.get("names") if isinstance(content, Mapping) else None
    if names is None:
        return {}
    pairs = list(names.items()) if isinstance(names, Mapping) else list(enumerate(names)) if isinstance(names, list) else [("", "")]
    if not all(str(value).isdecimal() for value, _ in pairs):
        raise DataError(f"{where}: `names` is no list of class names, and no map of their numbers")
    return {int(value): text_of(where, str(label)) for value, label in pairs}


def _lines(tree: Tree, name: str) -> list[str]:
    try:
        return read_bounded(tree.path(name)).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{tree.path(name)}: is no text; mend or remove it") from None
