"""LabelMe: a JSON file beside each image, of its name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from fabloom.errors import DataError
from fabloom.plugins.data.images.entries import Scene, Shape
from fabloom.plugins.data.images.tree import Tree, is_image, stem

from .drawn import Drawn, chosen, missing, number, outline, scene, size_of, text_of

if TYPE_CHECKING:
    from fabloom.plugins.data.images.params import LoadParams

IGNORE, BACKGROUND = "__ignore__", "_background_"
"""LabelMe's own words for pixels that do not count, and for no class."""


def is_labelme(content: Any) -> bool:
    """Whether a JSON document holds shapes of one image."""
    return isinstance(content, dict) and isinstance(content.get("shapes"), list) and "imagePath" in content


def labelme(tree: Tree, params: LoadParams, documents: list[str]) -> Scene:
    """Images with polygons, rectangles, circles and masks; lines and points have no area and are refused."""
    drawn: dict[str, Drawn] = {}
    files = chosen(tree, documents, "labelme", params)
    for document in files:
        content, where = tree.json(document), str(tree.path(document))
        folder = document.rpartition("/")[0]
        said = content["imagePath"] if isinstance(content["imagePath"], str) else ""
        beside = [name for name in tree.images(folder) if stem(name) == stem(document)]
        found = beside[0] if len(beside) == 1 else tree.locate(said, folder) if is_image(said) else None
        if found is None:
            missing(tree, document, said, params)
            continue
        if found in drawn:
            raise DataError(f"{where}: '{found}' is annotated twice")
        drawn[found] = Drawn(size=size_of(content.get("imageWidth"), content.get("imageHeight")))
        for index, one in enumerate(content["shapes"]):
            place = f"{where}: shape {index}"
            if not isinstance(one, dict):
                raise DataError(f"{place}: is no shape")
            label = text_of(place, one.get("label"))
            if label != BACKGROUND:
                drawn[found].shapes.append(shape(place, label, one))
    return scene("labelme", tree, drawn, files, params)


def shape(where: str, label: str, one: dict[str, Any]) -> Shape:
    """A shape's area. A pixel belongs to it where its centre does."""
    kind, points = one.get("shape_type") or "polygon", one.get("points")
    if not isinstance(points, list) or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise DataError(f"{where}: points are no list of [x, y]")
    crowd = label == IGNORE
    flat = [number(where, value) for point in points for value in point]
    if kind == "polygon":
        return Shape(label, (outline(where, flat),), crowd=crowd)
    if kind in ("rectangle", "circle") and len(flat) != 4:
        raise DataError(f"{where}: a {kind} of {len(points)} points; it has two")
    if kind == "rectangle":
        left, top, right, bottom = *map(min, zip(flat[:2], flat[2:], strict=True)), *map(max, zip(flat[:2], flat[2:], strict=True))
        return Shape(label, (((left, top), (right, top), (right, bottom), (left, bottom)),), crowd=crowd)
    if kind == "circle":
        radius = math.dist(flat[:2], flat[2:])
        return Shape(label, (ellipse(flat[0], flat[1], radius, radius),), crowd=crowd)
    if kind == "mask" and isinstance(one.get("mask"), str) and len(flat) == 4:
        left, top = (round(value) for value in flat[:2])
        return Shape(label, picture=one["mask"], box=(left, top, round(flat[2]) - left + 1, round(flat[3]) - top + 1), crowd=crowd)
    raise DataError(f"{where}: a {str(kind)[:20]} has no area; draw a polygon, rectangle, circle or mask, or remove it")


def ellipse(x: float, y: float, across: float, down: float) -> tuple[tuple[float, float], ...]:
    """An outline of an ellipse with half axes `across` and `down`, to a hundredth of a pixel up to a radius of 2,000."""
    count = 720
    return tuple((x + across * math.cos(2 * math.pi * k / count), y + down * math.sin(2 * math.pi * k / count)) for k in range(count))
