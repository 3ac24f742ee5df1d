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
from fabloom.kinds.masks import is_defect
from fabloom.method.survey import Structure, Survey
from fabloom.plugins.blocks.components import EIGHT
from fabloom.plugins.blocks.structure import CONTRAST, look, spots

from .entries import Entry, Scene
from .infobar import clear_bar, upright, without_bar
from .layout import find
from .masking import Masking
from .params import LoadParams
from .reading import Header, decode, header, turn

SAMPLE = 16
"""Images whose pixels are looked at, spread over the folder."""
BARS = 8
"""Images below which a data bar is looked for."""
CLEAN = 48
"""Clean images that are held against each other."""
DRAWN = 2000
"""Masks that are looked at."""


def survey(folder: Path, options: Mapping[str, Any]) -> Survey:
    """Look at a folder as images.load would read it with `options`. Raises UserError for what it would refuse."""
    files, settled, told = opened(layout(folder, options), folder)
    scene = files.scene
    sizes = Counter(files.sizes)
    common = max(sizes, key=lambda size: sizes[size])
    sample = [row for row in spread(len(scene.entries), SAMPLE) if files.sizes[row] == common]
    pixels = [files.pixels(row) for row in sample]
    references = [grey(files.reference(row)) for row in sample if scene.entries[row].reference is not None]
    drawn = [row for row, entry in enumerate(scene.entries) if entry.masks or entry.shapes is not None]
    masks = {row: is_defect(files.mask(row)) for row in (drawn[at] for at in spread(len(drawn), DRAWN))}
    extents = [side for mask in masks.values() for side in sides(mask)]
    domains = [domain(entry, scene, masks.get(row)) for row, entry in enumerate(scene.entries)]
    known = Counter(domains)
    found = structure([grey(one) for one in pixels], references if len(references) == len(pixels) else None)
    calm = [row for row, said in enumerate(domains) if said == 0 and files.sizes[row] == common]
    clean = [grey(files.pixels(calm[at])) for at in spread(len(calm), CLEAN)] if found.registered and not references and not drawn else []
    return Survey(
        task="images.load",
        params={"path": str(folder.absolute()), **settled},
        layout=LAYOUT[scene.layout],
        images=len(scene.entries),
        sizes=dict(sizes.most_common()),
        channels=max(colours(one) for one in pixels),
        bits=max(8 * one.dtype.itemsize for one in pixels),
        clean=known[0],
        defect=known[1],
        masks=len(set(drawn).union(row for row, said in enumerate(domains) if said == 0)) if drawn else 0,
        references=sum(entry.reference is not None for entry in scene.entries),
        classes=scene.classes,
        extent=int(np.ceil(np.quantile(extents, 0.9))) if extents else None,
        hidden=hidden(pixels),
        spots=spots(clean),
        structure=found,
        notes=(*told, *scene.notes, *left_out(scene), *files.masking.notes()),
    )


def opened(settled: dict[str, Any], folder: Path) -> tuple[Files, dict[str, Any], list[str]]:
    """The files, and the parameters that they are read with: `info_bar` too where a data bar is seen below them and nothing is said of one;
    and what tells so.
    """
    params = LoadParams.model_validate({**settled, "path": folder})
    rows = 0
    if not {"info_bar", "crop_bottom", "channels"} & set(settled):
        scene = params.scene()
        rows = clear_bar([upright(params, scene.entries[row]) for row in spread(len(scene.entries), BARS)])
    if not rows:
        return Files(params), settled, []
    try:
        files = Files(params.model_copy(update={"info_bar": True}))
    except DataError as error:
        return Files(params), settled, [f"a data bar of {rows} rows is seen below most images, and stays: {error}"]
    told = f"a data bar of {rows} rows below the images is cut off, here and by fabloom predict; --load info_bar=false keeps it"
    return files, {**settled, "info_bar": True}, [told]


class Files:
    """The files of a folder, read as images.load reads them; a row is the place of an image in the scene."""

    def __init__(self, params: LoadParams) -> None:
        self.scene = params.scene()
        self.params = without_bar(params, self.scene)[0]
        params = self.params
        self.masking = Masking(self.scene, params)
        entries = self.scene.entries
        self.headers = [header(entry.path, params.max_pixels, channels=params.channels, page=entry.page) for entry in entries]
        self.sizes = [self._size(found) for found in self.headers]

    def _size(self, found: Header) -> tuple[int, int]:
        height, width = (found.height, found.width) if self.params.orientation == "ignore" else found.turned()
        return height - self.params.crop_bottom, width

    def pixels(self, row: int) -> NDArray[Any]:
        """[H,W,C] of an image, upright and without its data bar."""
        entry = self.scene.entries[row]
        return self._upright(decode(entry.path, channels=self.params.channels, page=entry.page), row)

    def reference(self, row: int) -> NDArray[Any]:
        """[H,W,C] of the reference that it has."""
        path = self.scene.entries[row].reference
        assert path is not None
        return self._upright(decode(path, channels=self.params.channels), row)

    def mask(self, row: int) -> NDArray[np.uint8]:
        """Classes [H,W] of an image that somebody has drawn on."""
        found = self.masking.of(self.scene.entries[row], self.sizes[row], self._turned(row))
        assert found is not None
        return found

    def _turned(self, row: int) -> int:
        return 1 if self.params.orientation == "ignore" else self.headers[row].orientation

    def _upright(self, pixels: NDArray[Any], row: int) -> NDArray[Any]:
        return turn(pixels, self._turned(row))[: self.sizes[row][0]]


LAYOUT = {
    "flat": "images in one folder", "domains": "folders clean/ and defect/", "classes": "a folder for each class",
    "splits": "train/, val/ and test/ of clean/ and defect/",
    "mvtec": "MVTec (train/good, test/TYPE, ground_truth/TYPE)", "pairs": "pairs of an image and its reference", "coco": "COCO annotations",
    "labelme": "LabelMe annotations", "cvat": "CVAT annotations", "voc": "Pascal VOC annotations", "yolo": "YOLO labels",
    "klarf": "KLARF defect lists",
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
        option = "--load unlisted=clean" if "unlisted:" in found.fit.problem else "--load NAME=VALUE"
        raise DataError(f"{found.fit.problem} (as an option of init: {option})")
    return dict(found.fit.params)


def left_out(scene: Scene) -> list[str]:
    """A note on files that say nothing under the layout."""
    return [f"{len(scene.skipped)} files are not read, such as {scene.skipped[0]}"] if scene.skipped else []


def spread(length: int, count: int) -> list[int]:
    """At most `count` places of a list, from the first to the last."""
    found: list[int] = np.unique(np.linspace(0, length - 1, min(count, length)).round().astype(int)).tolist()
    return found


def domain(entry: Entry, scene: Scene, mask: NDArray[np.bool_] | None) -> int | None:
    """0 clean, 1 defect, None unknown: what folders and names say, else the mask, else what was drawn or the class."""
    if entry.domain is not None:
        return entry.domain
    if mask is not None:
        return int(mask.any())
    if entry.shapes is not None:
        return int(bool(entry.shapes))
    return None if entry.label is None or scene.clean is None else int(entry.label != scene.clean)


def sides(mask: NDArray[np.bool_]) -> list[int]:
    """The longer side in pixels of each drawn defect."""
    parts, _ = ndimage.label(mask, EIGHT)
    return [max(part.stop - part.start for part in box) for box in ndimage.find_objects(parts)]


def colours(pixels: NDArray[Any]) -> int:
    """1 where all channels are equal, else 3."""
    return 1 if (pixels[..., :3] == pixels[..., :1]).all() else 3


def hidden(images: Sequence[NDArray[Any]]) -> float:
    """Of the pixels whose colour differs from the median image's by a third of its contrast, the share whose mean of colours does not."""
    if colours(images[0]) == 1 or min(one.shape[2] for one in images) < 3:
        return 0.0
    stack = np.stack([one[..., :3].astype(np.float64) for one in images])
    usual = np.median(stack, axis=0)
    moved = np.abs(stack - usual).max(-1) > CONTRAST * np.subtract(*np.percentile(usual, (99, 1)))
    seen = np.abs((stack - usual).mean(-1)) > CONTRAST * np.subtract(*np.percentile(usual.mean(-1), (99, 1)))
    return float((moved & ~seen).sum() / moved.sum()) if moved.any() else 0.0


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
