"""Images with shapes that an annotation tool wrote: what COCO, LabelMe, CVAT and VOC have in common."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fabloom.errors import DataError
from fabloom.plugins.data.images.entries import CLEAN, Entry, Scene, Shape, ordered
from fabloom.plugins.data.images.folders import matches, unique
from fabloom.plugins.data.images.tree import Tree

if TYPE_CHECKING:
    from fabloom.plugins.data.images.params import LoadParams

MOST_POINTS = 100_000
"""Of one outline."""


@dataclass
class Drawn:
    """What an annotation says of one image; `tag` is a class of the whole image."""

    shapes: list[Shape] = field(default_factory=list)
    size: tuple[int, int] | None = None
    tag: str | None = None


def outline(where: str, numbers: Iterable[Any]) -> tuple[tuple[float, float], ...]:
    """Points from x, y, x, y, ... Raises DataError for fewer than three, for odd ends and what is no finite number."""
    flat = [number(where, value) for value in numbers]
    if len(flat) < 6 or len(flat) % 2 or len(flat) > 2 * MOST_POINTS:
        raise DataError(f"{where}: an outline of {len(flat)} numbers; it wants x and y of three points and more")
    return tuple(zip(flat[::2], flat[1::2], strict=True))


def number(where: str, value: Any) -> float:
    """A finite number."""
    try:
        found = float(value)
    except (TypeError, ValueError):
        found = math.nan
    if isinstance(value, bool) or not math.isfinite(found) or abs(found) > 1e7:
        raise DataError(f"{where}: {str(value)[:40]!r} is no coordinate")
    return found


def size_of(width: Any, height: Any) -> tuple[int, int] | None:
    """(width, height) where both are claimed."""
    try:
        found = int(width), int(height)
    except (TypeError, ValueError, OverflowError):
        return None
    return found if min(found) > 0 else None


def text_of(where: str, value: Any) -> str:
    """A class name. Raises DataError for what is none."""
    if not isinstance(value, str) or not value.strip() or len(value) > 200 or not value.isprintable():
        raise DataError(f"{where}: {str(value)[:40]!r} is no name of a class")
    return value.strip()


def chosen(tree: Tree, documents: list[str], layout: str, params: LoadParams) -> list[str]:
    """The annotation files that the parameter `annotations` names, else all. Raises DataError where it matches none."""
    if params.annotations is None:
        return documents
    found = [name for name in documents if matches(name, (params.annotations,)) or name.startswith(f"{params.annotations.rstrip('/')}/")]
    if not found:
        raise DataError(
            f"{tree.root}: annotations '{params.annotations}' is none of its {layout} files: {', '.join(documents[:5]) or 'there are none'}"
        )
    return found


def only(tree: Tree, documents: list[str], layout: str, params: LoadParams) -> str:
    """The one annotation file. Raises DataError where there are several or none."""
    found = chosen(tree, documents, layout, params)
    if len(found) != 1:
        raise DataError(f"{tree.root}: {len(found)} {layout} files ({', '.join(found[:4])}); choose one with `annotations`")
    return found[0]


def scene(layout: str, tree: Tree, drawn: Mapping[str, Drawn], files: Iterable[str], params: LoadParams) -> Scene:
    """The scene of images with what was drawn on them.

    An image of the same folders that no annotation names is refused, unless `unlisted` says what it is or the `clean` pattern fits.
    A class called clean (or `clean_class`) means no defect. Boxes alone say no pixels: refused, or as `boxes` says.
    """
    notes: list[str] = []
    clean = {CLEAN, *([params.clean_class] if params.clean_class else [])}
    named = unique(tree, list(drawn))
    folders = {name.rpartition("/")[0] for name in drawn}
    unlisted = [image for folder in sorted(folders) for image in tree.images(folder) if image not in drawn]
    boxed = [
        (name, shape) for name, one in drawn.items() for shape in one.shapes if shape.boxed and not shape.crowd and shape.label not in clean
    ]
    if boxed and params.boxes == "refuse":
        raise DataError(
            f"{tree.root}: '{boxed[0][0]}' has a box without an outline ('{boxed[0][1].label}'), which says no pixels; "
            "boxes: labels keeps the class of each image, boxes: fill takes all pixels of the box"
        )
    as_labels = any(one.tag is not None for one in drawn.values()) or (bool(boxed) and params.boxes == "labels")
    odd = next((name for name, one in drawn.items() if matches(name, params.clean) and {s.label for s in one.shapes} - clean), None)
    if odd is not None:
        raise DataError(f"{tree.root}: '{odd}' fits the `clean` pattern, but its annotation marks a defect; mend one of them")
    entries = [_entry(tree, name, drawn[name], clean, as_labels) for name in sorted(named.values())]
    for image in unlisted:
        if matches(image, params.clean) or params.unlisted == "clean":
            entries.append(Entry(image, tree.path(image), 0, CLEAN if as_labels else None, shapes=None if as_labels else ()))
        elif params.unlisted == "refuse":
            raise DataError(
                f"{tree.root}: image '{image}' is in no annotation; annotate it, or say that it is clean (the `clean` pattern; "
                "unlisted: clean or skip for all such images)"
            )
    if not entries:
        raise DataError(f"{tree.root}: no image that the {layout} annotations name is there; put images and annotations into one folder")
    told = [entry.label for entry in entries if entry.label] + [s.label for e in entries for s in e.shapes or () if not s.crowd]
    if not set(told) - clean:
        notes.append("no defect is annotated in any image")
    used = {entry.name for entry in entries} | set(files)
    entries.sort(key=lambda entry: entry.name)
    return Scene(
        layout,
        entries,
        ordered([one for one in told if one not in clean], CLEAN),
        CLEAN,
        annotations=tuple(sorted(files)),
        used=frozenset(used),
        notes=tuple(notes),
    )


def _entry(tree: Tree, name: str, one: Drawn, clean: set[str], as_labels: bool) -> Entry:
    shapes = tuple(shape for shape in one.shapes if shape.label not in clean)
    if not as_labels:
        return Entry(name, tree.path(name), shapes=shapes, size=one.size)
    labels = {shape.label for shape in shapes} | ({one.tag} if one.tag and one.tag not in clean else set())
    if len(labels) > 1:
        raise DataError(
            f"{tree.root}: '{name}' has boxes or tags of {len(labels)} classes ({', '.join(sorted(labels))}), an image's label is one"
        )
    label = labels.pop() if labels else CLEAN
    return Entry(name, tree.path(name), int(label != CLEAN), label, size=one.size)


def missing(tree: Tree, document: str, said: str, params: LoadParams) -> None:
    """Raise DataError for an image that an annotation names and nobody finds, unless such are to be skipped."""
    if params.unlisted != "skip":
        raise DataError(f"{tree.path(document)}: names '{said[:120]}', which is not in {tree.root}; add it, or say unlisted: skip")
