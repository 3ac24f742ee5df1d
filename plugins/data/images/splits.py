"""Folders train/, val/ and test/ of clean/ and defect/, or defect/CLASS, each with masks/ where there are some."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from fabloom.errors import DataError

from .entries import CLEAN, Scene, ordered
from .folders import DOMAINS, unique, with_masks
from .lots import apart
from .maskfiles import mask_folder
from .tree import Tree, is_image

if TYPE_CHECKING:
    from .params import LoadParams

SIDES = ("train", "val", "test")
MASKS = "masks"


def why_not_splits(tree: Tree) -> str | None:
    """What keeps a folder from being train/, val/ and test/ of clean/ and defect/."""
    if tree.images():
        return f"images ('{tree.images()[0]}') beside the folders"
    sides = tree.inside("")
    strange = next((name for name in sides if name not in SIDES), None)
    if strange is not None or not sides:
        return "none of train/, val/, test/" if strange is None else f"folder '{strange}' is none of train, val, test"
    for side in sides:
        inside = tree.inside(side)
        odd = next((name for name in inside if name not in (*DOMAINS, MASKS)), None)
        if odd is not None or tree.images(side):
            return f"'{side}/{odd}' is none of clean, defect, masks" if odd else f"images right in '{side}'"
        if not set(inside) & set(DOMAINS):
            return f"'{side}' has neither clean/ nor defect/"
        deep = [f"clean/{name}" for name in tree.inside(f"{side}/clean")]
        deep += [f"defect/{kind}/{name}" for kind in tree.inside(f"{side}/defect") for name in tree.inside(f"{side}/defect/{kind}")]
        if deep:
            return f"folder '{side}/{deep[0]}' lies one deeper"
    return None


def splits(tree: Tree, params: LoadParams) -> Scene:
    """Images of one side or of all, each side with its own masks; lots are held apart whichever side is asked for.

    Classes are those of all sides, so that labels of one mean the same as those of another.
    """
    sides = {side: Tree(tree.path(side)) for side in tree.inside("")}
    named = {side: unique(one, pictures(one)) for side, one in sides.items()}
    if params.lot is not None:
        apart(params.lot, ((side, (f"{side}/{name}" for name in names.values())) for side, names in named.items()))
    wanted = [side for side in SIDES if side in sides and params.split in ("all", side)]
    if not wanted:
        raise DataError(f"{tree.root}: no images of split: {params.split}; there are {', '.join(sides)}")
    kinds = sorted({kind for names in named.values() for kind in map(kind_of, names.values()) if kind not in (None, CLEAN)})
    scenes = {side: of_side(sides[side], named[side], params, labelled=bool(kinds)) for side in wanted}
    entries = [replace(entry, name=f"{side}/{entry.name}") for side, scene in scenes.items() for entry in scene.entries]
    bare = next((entry.name for entry in entries if entry.domain and not entry.masks), None)
    if bare is not None and any(entry.masks for entry in entries):
        raise DataError(f"{tree.root}: '{bare}' has no mask, and images of another side have some; load them one by one, e.g. split: test")
    first = next(iter(scenes.values()))
    if any((scene.classes, scene.values) != (first.classes, first.values) for scene in scenes.values()):
        raise DataError(f"{tree.root}: masks of {' and '.join(wanted)} tell other classes; load them one by one, e.g. split: test")
    if kinds:
        first = replace(first, classes=ordered(kinds, CLEAN), clean=CLEAN)
    read = {f"{side}/{name}" for side, scene in scenes.items() for name in scene.used}
    passed = {name for name in tree.every() if is_image(name) and name.partition("/")[0] not in wanted}
    return replace(first, entries=entries, used=frozenset(read | passed))


def pictures(side: Tree) -> list[str]:
    """The images of a side, masks left out."""
    folders = [*DOMAINS, *(f"defect/{kind}" for kind in side.inside("defect"))]
    return [image for folder in folders for image in side.images(folder)]


def kind_of(name: str) -> str | None:
    """The class of an image by its folder within a side; None right in defect/."""
    parts = name.split("/")
    return CLEAN if parts[0] == CLEAN else parts[1] if len(parts) == 3 else None


def of_side(side: Tree, named: dict[str, str], params: LoadParams, *, labelled: bool) -> Scene:
    """The images of one side with its masks. Raises DataError where only some defects lie in the folder of a class."""
    domain = {key: DOMAINS[name.partition("/")[0]] for key, name in named.items()}
    labels = {key: kind for key, name in named.items() if (kind := kind_of(name)) is not None} if labelled else {}
    plain = next((name for key, name in named.items() if labelled and key not in labels), None)
    if plain is not None:
        raise DataError(f"{side.root}: '{plain}' lies right in defect/, and others in folders of classes; move it into one")
    return with_masks("splits", side, named, dict(domain), mask_folder(side, params), params, labels or None)
