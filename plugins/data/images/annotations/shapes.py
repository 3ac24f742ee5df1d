"""Shapes of an annotation as pixels."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fabloom.errors import DataError
from fabloom.kinds.masks import UNKNOWN
from fabloom.plugins.data.images.entries import Shape


def draw(where: str, shapes: Sequence[Shape], size: tuple[int, int], index: Mapping[str, int]) -> tuple[NDArray[np.uint8], int]:
    """A mask [H,W] of classes, later shapes over earlier ones; and how many pixels shapes of two classes claim.

    Raises DataError for a shape that lies outside of the image.
    """
    mask = np.zeros(size, np.uint8)
    disputed = 0
    for shape in shapes:
        value = UNKNOWN if shape.crowd else index[shape.label]
        area = _area(where, shape, size)
        held = mask[area]
        disputed += int(((held != 0) & (held != value)).sum())
        mask[area] = value
    return mask, disputed


def _area(where: str, shape: Shape, size: tuple[int, int]) -> NDArray[np.bool_]:
    if shape.relative:
        shape = _in_pixels(shape, size)
    if shape.picture or shape.runs:
        _check_place(where, shape, size)
    if shape.picture:
        return _placed(shape, size, _drawn_picture(where, shape))
    if shape.runs:
        width, height = (int(value) for value in (shape.box or (0, 0, 0, 0))[2:])
        flat = np.repeat(np.arange(len(shape.runs)) % 2 == 1, shape.runs)
        inside = flat.reshape(width, height).T if shape.columns else flat.reshape(height, width)
        return _placed(shape, size, inside)
    outlines = shape.points
    if not outlines:
        left, top, width_, height_ = shape.box or (0, 0, 0, 0)
        right, bottom = left + width_, top + height_
        outlines = (((left, top), (right, top), (right, bottom), (left, bottom)),)
    area = np.zeros(size, bool)
    for outline in outlines:
        area |= _filled(where, shape.label, outline, size)
    return area


def _in_pixels(shape: Shape, size: tuple[int, int]) -> Shape:
    """Points and box of a shape in shares of width and height, on an image of [H,W] pixels."""
    height, width = size
    left, top, across, down = shape.box or (0, 0, 0, 0)
    points = tuple(tuple((x * width, y * height) for x, y in outline) for outline in shape.points)
    return replace(shape, points=points, box=(left * width, top * height, across * width, down * height), relative=False)


def _filled(where: str, label: str, outline: Sequence[tuple[float, float]], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Pixels whose centre lies inside; of an outline that holds no centre the one in its middle."""
    from skimage.draw import polygon

    points = np.asarray(outline, float)
    low, high = points.min(0), points.max(0)
    if high[0] <= 0 or high[1] <= 0 or low[0] >= size[1] or low[1] >= size[0]:
        (left, top), (right, bottom) = low.round(1).tolist(), high.round(1).tolist()
        raise DataError(
            f"{where}: a shape of '{label}' lies at x {left:g} to {right:g} and y {top:g} to {bottom:g}, outside of its image, which is "
            f"{size[1]} wide and {size[0]} high; mend the annotation"
        )
    area = np.zeros(size, bool)
    area[polygon(points[:, 1] - 0.5, points[:, 0] - 0.5, size)] = True
    if not area.any():
        x, y = np.clip((low + high) / 2, 0, [size[1] - 1, size[0] - 1]).astype(int)
        area[y, x] = True
    return area


def _drawn_picture(where: str, shape: Shape) -> NDArray[np.bool_]:
    try:
        with Image.open(io.BytesIO(base64.b64decode(shape.picture, validate=True)), formats=("PNG",)) as picture:
            if picture.width * picture.height > 2**26:
                raise ValueError("too large")
            pixels: NDArray[Any] = np.asarray(picture.convert("L"))
    except Exception as error:
        raise DataError(f"{where}: a mask of '{shape.label}' is no PNG ({str(error)[:80]}); draw it anew") from None
    width, height = (shape.box or (0, 0, 0, 0))[2:]
    if pixels.shape != (height, width):
        raise DataError(
            f"{where}: a mask of '{shape.label}' is {pixels.shape[0]} x {pixels.shape[1]}, its points say {height:g} x {width:g}"
        )
    return pixels > 0


def _check_place(where: str, shape: Shape, size: tuple[int, int]) -> None:
    """Before anything is unpacked: what an annotation claims may be larger than any memory."""
    left, top, width, height = (int(value) for value in shape.box or (0, 0, 0, 0))
    if left < 0 or top < 0 or left + width > size[1] or top + height > size[0]:
        raise DataError(
            f"{where}: a mask of '{shape.label}' of {height} x {width} pixels reaches out of its {size[0]} x {size[1]} image; "
            "mend the annotation"
        )


def _placed(shape: Shape, size: tuple[int, int], inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    left, top = (int(value) for value in (shape.box or (0, 0, 0, 0))[:2])
    height, width = inside.shape
    area = np.zeros(size, bool)
    area[top : top + height, left : left + width] = inside
    return area
