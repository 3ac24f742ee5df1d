"""COCO instances: polygons, run lengths (plain and compressed), boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fabloom.errors import DataError
from fabloom.plugins.data.images.entries import Scene, Shape
from fabloom.plugins.data.images.tree import Tree

from .drawn import Drawn, missing, number, only, outline, scene, size_of, text_of

if TYPE_CHECKING:
    from fabloom.plugins.data.images.params import LoadParams

IGNORED = "cannot tell"
"""The category under which `export --format coco` writes pixels of which nobody can tell; its instances are crowds."""


def is_coco(content: Any) -> bool:
    """Whether a JSON document lists images and annotations of categories."""
    return isinstance(content, dict) and all(isinstance(content.get(key), list) for key in ("images", "annotations", "categories"))


def coco(tree: Tree, params: LoadParams, documents: list[str]) -> Scene:
    """Images of a COCO list. `iscrowd` marks pixels that nobody tells apart: they become 255 (cannot tell)."""
    document = only(tree, documents, "coco", params)
    content, where = tree.json(document), str(tree.path(document))
    if not is_coco(content):
        raise DataError(f"{where}: is no COCO list; it lacks images, annotations or categories")
    categories = {_id(where, one): text_of(where, one.get("name")) for one in content["categories"] if isinstance(one, dict)}
    drawn: dict[str, Drawn] = {}
    by_id: dict[Any, Drawn | None] = {}
    for one in content["images"]:
        said = one.get("file_name") if isinstance(one, dict) else None
        if not isinstance(said, str) or not said:
            raise DataError(f"{where}: an image without file_name")
        if _id(where, one) in by_id:
            raise DataError(f"{where}: two images with the id {_id(where, one)}; ids must differ")
        found = tree.locate(said, document.rpartition("/")[0])
        if found is None:
            missing(tree, document, said, params)
        elif found in drawn:
            raise DataError(f"{where}: lists '{said}' twice")
        else:
            drawn[found] = Drawn(size=size_of(one.get("width"), one.get("height")))
        by_id[_id(where, one)] = drawn.get(found) if found else None
    for one in content["annotations"]:
        place = f"{where}: annotation {one.get('id')}" if isinstance(one, dict) else where
        if not isinstance(one, dict) or _id(place, one, "image_id") not in by_id:
            raise DataError(f"{place}: of an image that is not listed")
        if _id(place, one, "category_id") not in categories:
            raise DataError(f"{place}: of category {str(one['category_id'])[:40]}, which is not listed")
        image = by_id[one["image_id"]]
        if image is not None:
            image.shapes.append(shape(place, categories[one["category_id"]], one))
    return scene("coco", tree, drawn, [document], params)


def shape(where: str, label: str, one: dict[str, Any]) -> Shape:
    """An annotation's area: its outlines or runs, else its box."""
    area, crowd, box = one.get("segmentation"), bool(one.get("iscrowd")), one.get("bbox")
    if isinstance(area, dict):
        size, counts = area.get("size"), area.get("counts")
        if not isinstance(size, list) or len(size) != 2 or not isinstance(counts, list | str):
            raise DataError(f"{where}: run lengths without size and counts")
        height, width = (int(number(where, value)) for value in size)
        runs = uncompressed(where, counts) if isinstance(counts, str) else [int(number(where, value)) for value in counts]
        if min([*runs, height, width]) < 0 or sum(runs) != height * width:
            raise DataError(f"{where}: run lengths of {sum(runs)} pixels, its image has {height} x {width}")
        return Shape(label, runs=tuple(runs), box=(0, 0, width, height), crowd=crowd)
    if isinstance(area, list) and area:
        if not all(isinstance(polygon, list) for polygon in area):
            raise DataError(f"{where}: a segmentation is a list of polygons [x, y, x, y, ...]")
        return Shape(label, tuple(outline(where, polygon) for polygon in area), crowd=crowd)
    if not isinstance(box, list) or len(box) != 4:
        raise DataError(f"{where}: has neither a segmentation nor a box")
    left, top, width_, height_ = (number(where, value) for value in box)
    return Shape(label, box=(left, top, width_, height_), crowd=crowd)


def uncompressed(where: str, text: str) -> list[int]:
    """Run lengths from COCO's compressed text: groups of 5 bits, from the third on differences to the one before last."""
    counts: list[int] = []
    place = 0
    while place < len(text):
        value, shift, more = 0, 0, True
        while more:
            if place >= len(text) or not 48 <= ord(text[place]) < 112 or shift > 35:
                raise DataError(f"{where}: compressed run lengths that end too early or hold strange characters")
            group = ord(text[place]) - 48
            value |= (group & 31) << shift
            more, place, shift = bool(group & 32), place + 1, shift + 5
            if not more and group & 16:
                value |= -1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
    return counts


def _id(where: str, one: dict[str, Any], key: str = "id") -> Any:
    found = one.get(key)
    if not isinstance(found, int | str) or isinstance(found, bool):
        raise DataError(f"{where}: an entry without {key}, a number or text")
    return found
