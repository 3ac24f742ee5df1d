"""What a folder holds, for `fabloom init`: all names and headers, the pixels of some images, and the masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy import ndimage

from fabloom.errors import DataError, UserError
from fabloom.method.survey import Structure, Survey
from fabloom.plugins.blocks.structure import look

from .entries import Entry, Scene, Shape
from .layout import find, skipped
from .params import LoadParams
from .reading import decode, header
from .tree import Tree

SAMPLE = 16
"""Images whose pixels are looked at, spread over the folder."""
DRAWN = 200
"""Masks that are looked at."""
EIGHT = np.ones((3, 3), int)


def survey(folder: Path, options: Mapping[str, Any]) -> Survey:
    """Look at a folder as images.load would read it with `options`. Raises UserError for what it would refuse."""
    settled = layout(folder, options)
    params = LoadParams.model_validate({**settled, "path": folder})
    scene = params.scene()
    entries = scene.entries
    sizes = Counter((found.height, found.width) for found in (header(entry.path, params.max_pixels) for entry in entries))
    common = max(sizes, key=lambda size: sizes[size])
    sample = spread(entries, SAMPLE)
    pixels = [decode(entry.path) for entry in sample]
    whole = [number for number, one in enumerate(pixels) if one.shape[:2] == common]
    references = [grey(decode(one)) for one in (sample[number].reference for number in whole) if one is not None]
    drawn = [entry for entry in entries if judged(entry)]
    extents = [extent for entry in spread(drawn, DRAWN) for extent in sides(entry)]
    domains = Counter(domain(entry, scene) for entry in entries)
    return Survey(
        task="images.load",
        params={"path": str(folder.absolute()), **settled},
        layout=LAYOUT[scene.layout],
        images=len(entries),
        sizes=dict(sizes.most_common()),
        channels=max(colours(one) for one in pixels),
        bits=max(8 * one.dtype.itemsize for one in pixels),
        clean=domains[0],
        defect=domains[1],
        masks=sum(judged(entry) or domain(entry, scene) == 0 for entry in entries) if drawn else 0,
        references=sum(entry.reference is not None for entry in entries),
        classes=scene.classes,
        extent=int(np.ceil(np.quantile(extents, 0.9))) if extents else None,
        structure=structure([grey(pixels[number]) for number in whole], references if len(references) == len(whole) else None),
        notes=(*scene.notes, *left_out(params, scene)),
    )


LAYOUT = {
    "flat": "images in one folder", "domains": "folders clean/ and defect/", "classes": "a folder for each class",
    "mvtec": "MVTec (train/good, test/TYPE, ground_truth/TYPE)", "pairs": "pairs of an image and its reference", "coco": "COCO annotations",
    "labelme": "LabelMe annotations", "cvat": "CVAT annotations", "voc": "Pascal VOC annotations", "klarf": "KLARF defect lists",
}  # fmt: skip
"""Each layout in words."""


def layout(folder: Path, options: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that say how the folder is laid out. Raises UserError where several do, naming the option."""
    try:
        found = find(folder, **options)
    except ValidationError as error:
        first = error.errors()[0]
        raise UserError(f"--load {'.'.join(map(str, first['loc'])) or 'NAME=VALUE'}: {first['msg']}") from error
    if found.fit is None:
        if found.fits:
            names = " or ".join(f"--layout {fit.layout} ({LAYOUT[fit.layout]})" for fit in found.fits)
            raise UserError(f"'{folder}' can be read in {len(found.fits)} ways: say {names}")
        raise DataError(found.why)
    if found.fit.problem is not None:
        raise DataError(f"{found.fit.problem} (as an option of init: --load NAME=VALUE)")
    return dict(found.fit.params)


def left_out(params: LoadParams, scene: Scene) -> list[str]:
    """A note on files that say nothing under the layout."""
    names = skipped(Tree(params.path.path), scene)
    return [f"{len(names)} files are not read, such as {names[0]}"] if names else []


def spread(entries: Sequence[Entry], count: int) -> list[Entry]:
    """At most `count` of them, from the first to the last."""
    rows = np.unique(np.linspace(0, len(entries) - 1, min(count, len(entries))).round().astype(int))
    return [entries[row] for row in rows.tolist()]


def domain(entry: Entry, scene: Scene) -> int | None:
    """0 clean, 1 defect, None unknown: what folders and names say, else what was drawn, else the class."""
    if entry.domain is not None:
        return entry.domain
    if entry.masks:
        return int(mask(entry).any())
    if entry.shapes is not None:
        return int(bool(entry.shapes))
    return None if entry.label is None or scene.clean is None else int(entry.label != scene.clean)


def judged(entry: Entry) -> bool:
    """Whether somebody drew where its defects are."""
    return bool(entry.masks) or entry.shapes is not None


def mask(entry: Entry) -> NDArray[np.bool_]:
    """Pixels [H,W] of the defects in its mask files."""
    found: NDArray[np.bool_] = np.logical_or.reduce([(decode(path) != 0).any(2) for _, path in entry.masks])
    return found


def sides(entry: Entry) -> list[int]:
    """The longer side in pixels of each drawn defect."""
    if not entry.masks:
        return [extent(shape) for shape in entry.shapes or ()]
    parts, _ = ndimage.label(mask(entry), EIGHT)
    return [max(part.stop - part.start for part in box) for box in ndimage.find_objects(parts)]


def extent(shape: Shape) -> int:
    """The longer side of a shape's box."""
    if shape.points:
        across, down = zip(*(point for outline in shape.points for point in outline), strict=True)
        return int(np.ceil(max(max(across) - min(across), max(down) - min(down))))
    return int(np.ceil(max(shape.box[2:]))) if shape.box is not None else 1


def colours(pixels: NDArray[Any]) -> int:
    """1 where all channels are equal, else 3."""
    return 1 if (pixels[..., :3] == pixels[..., :1]).all() else 3


def grey(pixels: NDArray[Any]) -> NDArray[np.float64]:
    """Mean of the colours [H,W]."""
    found: NDArray[np.float64] = pixels[..., :3].mean(2, dtype=np.float64)
    return found


def structure(images: Sequence[NDArray[np.float64]], references: Sequence[NDArray[np.float64]] | None) -> Structure:
    """What the sample shows. Raises DataError where every pixel of it is one value."""
    kept = [number for number, image in enumerate(images) if image.min() < image.max()]
    if not kept:
        raise DataError("the images are constant; there is nothing to learn from them")
    return look([images[number] for number in kept], None if references is None else [references[number] for number in kept])
