"""The images that a KLARF lists, with the classes of their defects."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from fabloom.errors import DataError
from fabloom.plugins.data.images.entries import CLEAN, Entry, Scene, ordered
from fabloom.plugins.data.images.tree import Tree, is_image

from .drawn import missing, only
from .klarf import read_klarf

if TYPE_CHECKING:
    from fabloom.plugins.data.images.params import LoadParams


def klarf(tree: Tree, params: LoadParams, documents: list[str]) -> Scene:
    """One image of each defect: its first, or the `view`th. Its label is the defect's class by the class table."""
    document = only(tree, documents, "klarf", params)
    content, where = read_klarf(tree.path(document)), tree.path(document)
    labels: dict[tuple[str, int | None], str] = {}
    known: set[str] = set()
    bare, views = 0, 0
    for defect in content.defects:
        number = defect.values.get("CLASSNUMBER", "0")
        label = _called(content.classes, number)
        views = max(views, len(defect.pictures))
        for index, picture in enumerate(defect.pictures, start=1):
            if picture.file is None:
                raise DataError(f"{where}: defect {defect.values.get('DEFECTID')} has an image of no file; name one by TiffFileName")
            found = tree.locate(picture.file, document.rpartition("/")[0])
            if found is None:
                missing(tree, document, picture.file, params)
                continue
            known.add(found)
            if index == params.view:
                at = (found, picture.number)
                if labels.setdefault(at, label) != label:
                    raise DataError(
                        f"{where}: '{found}' shows defects of the classes '{labels[at]}' and '{label}'; an image's label is one"
                    )
        bare += len(defect.pictures) < params.view
    if not labels:
        raise DataError(f"{where}: none of its {len(content.defects)} defects has an image {params.view}; there is nothing to read")
    unlisted = [image for image in map(tree.known.get, tree.known) if image and is_image(image) and image not in known]
    if unlisted and params.unlisted == "refuse":
        raise DataError(f"{tree.root}: image '{unlisted[0]}' is in no row of {document}; remove it, or say unlisted: skip")
    shared = Counter(name for name, _ in labels)
    clean = params.clean_class
    if clean is not None and clean not in labels.values():
        raise DataError(f"{where}: clean_class '{clean}' is none of its classes: {', '.join(sorted(set(labels.values())))}")
    entries = []
    for (name, place), label in sorted(labels.items(), key=lambda item: (item[0][0], item[0][1] or 0)):
        stacked = place is not None and (shared[name] > 1 or views > 1) and name.lower().endswith((".tif", ".tiff", ".i01"))
        page = place - 1 if stacked and place is not None else None
        said = name if shared[name] == 1 else f"{name}#{place}"
        domain = None if clean is None else int(label != clean)
        entries.append(Entry(said, tree.path(name), domain, CLEAN if label == clean else label, page=page))
    notes = [f"{bare} of {len(content.defects)} defects have no image {params.view}"] if bare else []
    if views > 1:
        notes.append(f"defects have up to {views} images; number {params.view} of each is read (`view`)")
    names = ordered([entry.label or "" for entry in entries], None if clean is None else CLEAN)
    return Scene(
        "klarf",
        entries,
        names,
        None if clean is None else CLEAN,
        annotations=(document,),
        used=frozenset({*known, document}),
        notes=tuple(notes),
    )


def _called(classes: dict[int, str], number: str) -> str:
    try:
        return classes.get(int(float(number)), f"class {int(float(number))}").strip() or f"class {number}"
    except (ValueError, OverflowError):
        return f"class {number[:20]}"
