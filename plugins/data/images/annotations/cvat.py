"""CVAT for images 1.1: one XML file with polygons, boxes, ellipses, masks and tags of all images."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element

from fabloom.errors import DataError
from fabloom.plugins.data.images.entries import Scene, Shape
from fabloom.plugins.data.images.tree import Tree

from .drawn import Drawn, missing, number, only, outline, scene, size_of, text_of
from .labelme import ellipse

if TYPE_CHECKING:
    from fabloom.plugins.data.images.params import LoadParams


def is_cvat(root: Element) -> bool:
    """Whether an XML document is CVAT's."""
    return root.tag == "annotations" and (root.find("image") is not None or root.find("track") is not None)


def cvat(tree: Tree, params: LoadParams, documents: list[str]) -> Scene:
    """Images of a CVAT list; shapes of higher z_order are drawn over others, tags are classes of whole images."""
    document = only(tree, documents, "cvat", params)
    root, where = tree.xml(document), str(tree.path(document))
    if root.find("track") is not None:
        raise DataError(f"{where}: holds tracks of a video; export it as 'CVAT for images 1.1'")
    drawn: dict[str, Drawn] = {}
    for image in root.iter("image"):
        said = image.get("name", "")
        found = tree.locate(said, document.rpartition("/")[0]) if said else None
        if found is None:
            missing(tree, document, said, params)
            continue
        if found in drawn:
            raise DataError(f"{where}: lists '{said}' twice")
        one = drawn[found] = Drawn(size=size_of(image.get("width"), image.get("height")))
        place = f"{where}: image '{said}'"
        tags = [text_of(place, tag.get("label")) for tag in image.findall("tag")]
        if len(set(tags)) > 1:
            raise DataError(f"{place}: has {len(tags)} tags, an image's label is one")
        one.tag = tags[0] if tags else None
        elements = [element for element in image if element.tag != "tag"]
        one.shapes = [shape(place, element) for element in sorted(elements, key=lambda e: number(place, e.get("z_order", 0)))]
        if one.tag is not None and one.shapes:
            raise DataError(f"{place}: has a tag and shapes; remove one of them")
    return scene("cvat", tree, drawn, [document], params)


def shape(where: str, element: Element) -> Shape:
    """An element's area. Raises DataError for lines, points and what is not known."""
    kind, label = element.tag, text_of(where, element.get("label"))
    if kind in ("polygon", "box", "ellipse") and number(where, element.get("rotation", 0)):
        raise DataError(f"{where}: a rotated {kind}; draw it as a polygon")
    if kind == "polygon":
        return Shape(label, (outline(where, (value for point in element.get("points", "").split(";") for value in point.split(","))),))
    if kind == "box":
        left, top, right, bottom = (number(where, element.get(key)) for key in ("xtl", "ytl", "xbr", "ybr"))
        return Shape(label, box=(left, top, right - left, bottom - top))
    if kind == "ellipse":
        return Shape(label, (ellipse(*(number(where, element.get(key)) for key in ("cx", "cy", "rx", "ry"))),))
    if kind == "mask":
        left, top, width, height = (int(number(where, element.get(key))) for key in ("left", "top", "width", "height"))
        runs = tuple(int(number(where, value)) for value in element.get("rle", "").split(","))
        if min([*runs, width, height]) < 0 or sum(runs) != width * height:
            raise DataError(f"{where}: a mask of {sum(runs)} pixels in a box of {width} x {height}")
        return Shape(label, runs=runs, columns=False, box=(left, top, width, height))
    raise DataError(f"{where}: a {kind[:20]} has no area; draw a polygon, ellipse or mask, or remove it")
