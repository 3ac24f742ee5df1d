"""Pascal VOC: JPEGImages/ with masks in SegmentationClass/, or boxes in Annotations/*.xml."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

from fabloom.errors import DataError
from fabloom.plugins.data.images.entries import CLEAN, Entry, Scene, Shape
from fabloom.plugins.data.images.folders import matches, unique
from fabloom.plugins.data.images.tree import Tree, stem
from fabloom.regular import read_regular

from .drawn import Drawn, chosen, missing, number, scene, size_of, text_of

if TYPE_CHECKING:
    from fabloom.plugins.data.images.params import LoadParams

MASKS = "SegmentationClass"


def is_voc(root: Element) -> bool:
    """Whether an XML document describes one image as VOC does."""
    return root.tag == "annotation" and root.find("filename") is not None


def voc(tree: Tree, params: LoadParams, documents: list[str]) -> Scene:
    """Masks of SegmentationClass/ where there are some, else boxes."""
    masks = [folder for folder in tree.pictured if folder.rpartition("/")[2] == MASKS]
    if not masks:
        return _boxes(tree, params, documents)
    if len(masks) > 1:
        raise DataError(f"{tree.root}: '{masks[0]}' and '{masks[1]}' both hold masks; give the path of one data set")
    base = masks[0].rpartition("/")[0]
    folder = f"{base}/JPEGImages" if base else "JPEGImages"
    named = unique(tree, tree.images(folder))
    drawn = {stem(name).rpartition("/")[2]: name for name in tree.images(masks[0])}
    values = params.values() or labelmap(tree, f"{base}/labelmap.txt" if base else "labelmap.txt")
    entries = []
    for key, name in sorted(named.items(), key=lambda item: item[1]):
        mask = drawn.pop(key.rpartition("/")[2], None)
        if mask is not None:
            entries.append(Entry(name, tree.path(name), masks=((None, tree.path(mask)),)))
        elif matches(name, params.clean) or params.unlisted == "clean":
            entries.append(Entry(name, tree.path(name), 0))
        elif params.unlisted == "refuse":
            raise DataError(f"{tree.root}: '{name}' has no mask in {masks[0]}; add it, or say unlisted: clean or skip for all such images")
    if drawn and params.unlisted != "skip":
        raise DataError(f"{tree.root}: mask '{next(iter(drawn.values()))}' has no image in {folder}; rename or remove it")
    used = {*named.values(), *tree.images(masks[0]), *documents, *(name for name in tree.every() if name.endswith("labelmap.txt"))}
    used |= {name for place in tree.pictured if place.endswith("SegmentationObject") for name in tree.images(place)}
    names = (CLEAN, *(name for _, name in sorted(values.items()))) if values else ()
    return Scene("voc", entries, names, CLEAN if values else None, values, tuple(tree.images(masks[0])), frozenset(used))


def labelmap(tree: Tree, name: str) -> dict[int, str]:
    """Names of the values by CVAT's labelmap.txt (`name:color:parts:actions`, background first); {} without one."""
    if name not in tree.known:
        return {}
    lines = read_regular(tree.path(name), 2**16).decode("utf-8", "replace").splitlines()
    names = [line.partition(":")[0].strip() for line in lines if line.strip() and not line.startswith("#")]
    if not names or names[0].casefold() != "background":
        raise DataError(f"{tree.path(name)}: does not begin with background, so its order is unknown; name the values with `classes`")
    return dict(enumerate(names[1:], start=1))


def _boxes(tree: Tree, params: LoadParams, documents: list[str]) -> Scene:
    drawn: dict[str, Drawn] = {}
    files = chosen(tree, documents, "voc", params)
    for document in files:
        root, where = tree.xml(document), str(tree.path(document))
        said, folder = (root.findtext("filename") or "").strip(), document.rpartition("/")[0]
        found = tree.locate(said, f"{folder.rpartition('/')[0]}/JPEGImages".lstrip("/")) if said else None
        if found is None:
            missing(tree, document, said, params)
            continue
        if found in drawn:
            raise DataError(f"{where}: '{found}' is annotated twice")
        one = drawn[found] = Drawn(size=size_of(root.findtext("size/width"), root.findtext("size/height")))
        for place in root.iter("object"):
            corners = [place.findtext(f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
            left, top, right, bottom = (number(where, value) for value in corners)
            # VOC counts pixels from 1 and the last one belongs to the box
            one.shapes.append(Shape(text_of(where, place.findtext("name")), box=(left - 1, top - 1, right - left + 1, bottom - top + 1)))
    return scene("voc", tree, drawn, files, params)
