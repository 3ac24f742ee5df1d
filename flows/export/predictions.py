"""What a segmenter found, for people and for other programs: masks, overlays, two tables and a COCO file, by the names of the images."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.errors import UserError
from fabloom.kinds import ImageSet
from fabloom.kinds.masks import is_defect

from .images import Categories, mask_picture, picture, plain_masks, rows, save, write_classes
from .names import file_names, origins

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .job import Export

IMAGES = ("file", "width", "height", "defects", "area", "score", "mask")
DEFECTS = ("file", "defect", "class", "x", "y", "width", "height", "area", "score")
OUTLINE = (255, 60, 40)
"""Colour of the outlines in overlays."""


def predictions(job: Export) -> Callable[[Path], None]:
    """`images.csv`, `defects.csv`, `annotations.json` (COCO), `masks/` and `overlays/`. Raises UserError for a set without masks.

    A row of `images.csv` is an image: the number of its defects, their area in pixels, its largest score. A row of `defects.csv` is an
    8-connected component of a mask: its class, box (x, y of the upper left corner, width, height), area and largest score; scores are
    empty where the set has none. `file` is the name of the source, `mask` the file that belongs to it here.
    """
    images: ImageSet = job.artifact
    if images.masks is None:
        raise UserError(f"--format predictions: image set {images.key[:12]} has no masks; make them with unet.segment or `fabloom predict`")
    categories, names, scored = Categories.of(images), file_names(images), images.scores
    sources = origins(images) or names

    def write(folder: Path) -> None:
        plain = plain_masks(images)
        found: dict[str, Any] = {"info": {}, "licenses": [], "categories": categories.listed(False), "images": [], "annotations": []}
        with (
            (folder / "images.csv").open("w", newline="", encoding="utf-8") as first,
            (folder / "defects.csv").open("w", newline="", encoding="utf-8") as second,
        ):
            by_image, by_defect = csv.DictWriter(first, IMAGES), csv.DictWriter(second, DEFECTS)
            by_image.writeheader()
            by_defect.writeheader()
            for number, pixels, mask in rows(job):
                assert mask is not None  # refused above
                scores = None if scored is None else scored[number]
                name, (height, width) = f"{names[number]}.png", mask.shape
                defects = [one for one in described(categories, number, mask, scores) if not one["iscrowd"]]
                row = {"file": sources[number], "width": width, "height": height, "defects": len(defects), "mask": f"masks/{name}"}
                by_image.writerow({**row, "area": int(is_defect(mask).sum()), "score": shown(scores)})
                for index, one in enumerate(defects, start=1):
                    box = dict(zip(("x", "y", "width", "height"), one["bbox"], strict=True))
                    facts = {"class": categories.names[one["category_id"] - 1], "area": one["area"], "score": one.get("score", "")}
                    by_defect.writerow({"file": sources[number], "defect": index, **box, **facts})
                    found["annotations"].append({"id": len(found["annotations"]) + 1, "image_id": number + 1, **one})
                found["images"].append({"id": number + 1, "file_name": sources[number], "height": height, "width": width})
                save(mask_picture(mask, plain), folder / "masks" / name)
                save(overlay(pixels, mask), folder / "overlays" / name)
        write_classes(images, folder, plain)
        (folder / "annotations.json").write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")

    return write


def described(categories: Categories, row: int, mask: NDArray[np.uint8], scores: NDArray[np.float16] | None) -> Iterator[dict[str, Any]]:
    """COCO's view of the components of a mask, each with its category and its largest score, surest first where there are scores."""
    found: list[dict[str, Any]] = []
    for category, instance in categories.instances(row, mask):
        one: dict[str, Any] = {"category_id": category, **instance}
        if scores is not None:
            one["score"] = shown(scores.ravel(order="F")[drawn(instance["segmentation"]["counts"])])
        found.append(one)
    yield from sorted(found, key=lambda one: -float(one["score"])) if scores is not None else found


def drawn(counts: list[int]) -> NDArray[np.bool_]:
    """The pixels of run lengths, column by column."""
    import numpy as np

    return np.repeat(np.arange(len(counts)) % 2 == 1, counts)


def shown(scores: NDArray[np.float16] | None) -> float | str:
    """The largest score to four places; '' where there is none."""
    return "" if scores is None or not scores.size else round(float(scores.max()), 4)


def overlay(pixels: NDArray[np.uint8], mask: NDArray[np.uint8]) -> Any:
    """The image [C,H,W] in colour with the outlines of its defects [H,W] around them."""
    import numpy as np
    from skimage.segmentation import find_boundaries

    drawn = np.array(picture(pixels).convert("RGB"))
    drawn[find_boundaries(is_defect(mask), mode="outer")] = OUTLINE
    return picture(drawn.transpose(2, 0, 1))


def counted(folder: Path) -> Mapping[str, int]:
    """Images and defects of a folder that was written."""
    with (folder / "images.csv").open(newline="", encoding="utf-8") as lines:
        found = [int(row["defects"]) for row in csv.DictReader(lines)]
    return {"images": len(found), "with defects": sum(count > 0 for count in found), "defects": sum(found)}
