"""What a segmenter found, for people and for other programs: masks, overlays, tables, a COCO file, by the names of the images."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.errors import UserError
from fabloom.kinds import ImageSet
from fabloom.kinds.masks import is_defect

from . import tables
from .gallery import Gallery
from .images import BLOCK, Categories, Component, mask_picture, picture, plain_masks, save, write_classes
from .klarf import Klarf, Sheet
from .names import file_names, origins

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .job import Export

IMAGES: Mapping[str, type] = {
    "file": str, "width": int, "height": int, "defects": int, "class": str, "area": int, "score": float, "mask": str,
}  # fmt: skip
DEFECTS: Mapping[str, type] = {
    "file": str, "defect": int, "class": str, "x": int, "y": int, "width": int, "height": int, "area": int, "score": float,
}  # fmt: skip
DIES: Mapping[str, type] = {"die_x": int, "die_y": int}
OUTLINE = (255, 60, 40)
"""Colour of the outlines in overlays."""
SIDE = 400
"""Least longer side of an overlay in pixels, so that it can be looked at."""
PIXELS = 2**23
"""Most pixels of images that are read at once."""


def predictions(job: Export) -> Callable[[Path], None]:
    """Tables `images` and `defects`, `annotations.json` (COCO), `masks/`, `overlays/` and `index.html`, which shows them.

    Raises UserError for a set without masks.

    A row of `images` is an image: the number of its defects, the class of the surest, their area in pixels, the largest score. A row of
    `defects` is an 8-connected component of a mask: its class, box (x, y of the upper left corner, width, height), area and largest
    score; scores are empty where the set has none. `file` is the name of the source, `mask` the file that belongs to it here.

    Options: `table`, csv or parquet; `klarf`, a `Sheet`, adds `defects.klarf`, and the die of each image to the table of images.
    """
    images: ImageSet = job.artifact
    kind, sheet = str(job.options.get("table", "csv")), job.options.get("klarf")
    tables.check(kind)
    if images.masks is None:
        raise UserError(f"--format predictions: image set {images.key[:12]} has no masks; make them with unet.segment or `fabloom predict`")
    categories = Categories.of(images)

    def write(folder: Path) -> None:
        findings = Findings(images, categories, folder, None if sheet is None else defect_list(sheet, images, categories, job))
        columns = IMAGES if sheet is None else {**IMAGES, **DIES}
        with ExitStack() as stack:
            by_image = stack.enter_context(tables.opened(folder / f"images.{kind}", columns))
            by_defect = stack.enter_context(tables.opened(folder / f"defects.{kind}", DEFECTS))
            for number, pixels, mask, scores in rows(job):
                findings.add(number, pixels, mask, scores, by_image, by_defect)
        findings.close()

    return write


class Findings:
    """A folder that is filled image by image."""

    def __init__(self, images: ImageSet, categories: Categories, folder: Path, klarf: Klarf | None) -> None:
        self.images, self.categories, self.folder, self.klarf = images, categories, folder, klarf
        self.names, self.plain = file_names(images), plain_masks(images)
        self.sources = origins(images) or self.names
        self.page = Gallery(images.attrs.get("doubts", ()))
        self.coco: dict[str, Any] = {
            "info": {}, "licenses": [], "categories": categories.listed(False), "images": [], "annotations": [],
        }  # fmt: skip

    def add(
        self,
        number: int,
        pixels: NDArray[np.uint8],
        mask: NDArray[np.uint8],
        scores: NDArray[np.float16] | None,
        by_image: tables.Table,
        by_defect: tables.Table,
    ) -> None:
        """Write one image: image [C,H,W], mask [H,W], scores [H,W]."""
        source, name, (height, width) = self.sources[number], f"{self.names[number]}.png", mask.shape
        found = list(described(self.categories, number, mask, scores))
        kinds = [self.categories.names[one["category_id"] - 1] for one in found]
        row = {"file": source, "width": width, "height": height, "defects": len(found), "mask": f"masks/{name}"}
        row |= {"class": kinds[0] if kinds else "", "area": sum(one["area"] for one in found), "score": shown(scores)}
        if self.klarf is not None:
            die = self.klarf.image(source)
            row |= {"die_x": die.x, "die_y": die.y}
        by_image.add(row)
        self.page.add(source, f"overlays/{name}", len(found), shown(scores), kinds)
        for index, (one, kind) in enumerate(zip(found, kinds, strict=True), start=1):
            box = dict(zip(("x", "y", "width", "height"), one["bbox"], strict=True))
            by_defect.add({"file": source, "defect": index, **box, "class": kind, "area": one["area"], "score": one.get("score")})
            self.coco["annotations"].append({"id": len(self.coco["annotations"]) + 1, "image_id": number + 1, **one})
            if self.klarf is not None:
                self.klarf.defect(one["bbox"], one["area"], self.categories.number(one["category_id"]))
        self.coco["images"].append({"id": number + 1, "file_name": source, "height": height, "width": width})
        save(mask_picture(mask, self.plain), self.folder / "masks" / name)
        save(overlay(pixels, mask), self.folder / "overlays" / name, compress_level=1)  # a fifth larger, and four times as fast

    def close(self) -> None:
        """Write what is known when all images have come."""
        write_classes(self.images, self.folder, self.plain)
        self.page.write(self.folder / "index.html")
        (self.folder / "annotations.json").write_text(json.dumps(self.coco, ensure_ascii=False), encoding="utf-8")
        if self.klarf is not None:
            self.klarf.write(self.folder / "defects.klarf")


def defect_list(sheet: Sheet, images: ImageSet, categories: Categories, job: Export) -> Klarf:
    """An empty defect list of these images."""
    height, width = images.images.shape[2:]
    classes = categories.names if categories.number(1) else categories.names[1:]
    return Klarf(sheet, classes, len(images), (height, width), job.manifest["created"])


def rows(job: Export) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.uint8], NDArray[np.float16] | None]]:
    """(number, image [C,H,W], mask [H,W], scores [H,W] or None) of every image, with progress."""
    images: ImageSet = job.artifact
    masks, scores = images.masks, images.scores
    assert masks is not None  # refused before
    height, width = images.images.shape[2:]
    block = max(1, min(BLOCK, PIXELS // (height * width)))
    with job.progress(len(images), "image") as bar:
        for start in range(0, len(images), block):
            part = slice(start, start + block)
            together = zip(images.images[part], masks[part], strict=True)
            sure = None if scores is None else scores[part]
            for row, (pixels, mask) in enumerate(together):
                yield start + row, pixels, mask, None if sure is None else sure[row]
                bar.advance()


def described(categories: Categories, row: int, mask: NDArray[np.uint8], scores: NDArray[np.float16] | None) -> Iterator[dict[str, Any]]:
    """COCO's view of the defects of a mask, each with its category and its largest score, surest first where there are scores."""
    known = ((category, one) for category, one in categories.instances(row, mask) if category <= len(categories.names))
    found = [{"category_id": category, **one.instance(), **scored(one, scores)} for category, one in known]
    yield from sorted(found, key=lambda one: -float(one["score"])) if scores is not None else found


def scored(one: Component, scores: NDArray[np.float16] | None) -> dict[str, float]:
    """The largest score of a component; nothing where there are none."""
    return {} if scores is None else {"score": round(float(scores[one.box][one.inside].max()), 4)}


def shown(scores: NDArray[np.float16] | None) -> float | None:
    """The largest score to four places; None where there is none."""
    return None if scores is None or not scores.size else round(float(scores.max()), 4)


def overlay(pixels: NDArray[np.uint8], mask: NDArray[np.uint8]) -> Any:
    """The image [C,H,W] in colour with the outlines of its defects [H,W] around them, small ones enlarged by a whole factor to `SIDE`."""
    import numpy as np
    from scipy.ndimage import binary_dilation

    factor = max(1, -(-SIDE // max(mask.shape)))
    drawn, defect = (enlarged(np.asarray(one), factor) for one in (picture(pixels).convert("RGB"), is_defect(mask)))
    if defect.any():
        drawn[binary_dilation(defect, iterations=min(factor, 2)) & ~defect] = OUTLINE
    return picture(drawn.transpose(2, 0, 1))


def enlarged(values: NDArray[Any], factor: int) -> NDArray[Any]:
    """A copy of an array [H,W,...] with every pixel as a square of this side."""
    return values.repeat(factor, 0).repeat(factor, 1)


def counted(folder: Path) -> Mapping[str, int]:
    """Images and defects of a folder that was written."""
    path = next(path for kind in tables.KINDS if (path := folder / f"images.{kind}").exists())
    found = [int(value) for value in tables.read(path, "defects")]
    return {"images": len(found), "with defects": sum(count > 0 for count in found), "defects": sum(found)}
