"""Image sets as PNG folders, as a COCO instance data set, and as a Hugging Face `imagefolder`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.errors import UserError
from fabloom.kinds import ImageSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from .job import Export

BLOCK = 64
"""Images read at once."""
DOMAINS = ("clean", "defect")


def picture(pixels: Any) -> Any:
    """uint8 [C,H,W] as a PIL image; one channel is grey, of more than three the first three are taken."""
    from PIL import Image

    return Image.fromarray(pixels[0] if len(pixels) < 3 else pixels[:3].transpose(1, 2, 0))


def mask_picture(mask: Any) -> Any:
    """A mask [H,W] in {0,1} as a grey PIL image in {0,255}."""
    from PIL import Image

    return Image.fromarray(mask * 255)


def rows(job: Export) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.uint8] | None]]:
    """(number, image [C,H,W], mask [H,W] or None) of every image, with progress."""
    images: ImageSet = job.artifact
    with job.progress(len(images), "image") as bar:
        for start in range(0, len(images), BLOCK):
            pixels = images.images[start : start + BLOCK]
            masks = None if images.masks is None else images.masks[start : start + BLOCK]
            for row in range(len(pixels)):
                yield start + row, pixels[row], None if masks is None else masks[row]
                bar.advance()


def png(job: Export) -> Callable[[Path], None]:
    """`clean/` and `defect/` where the domain is known, with `masks/` beside: the layout that `images.load` reads."""
    domain = None if job.artifact.domain is None else job.artifact.domain[...]

    def write(folder: Path) -> None:
        for number, pixels, mask in rows(job):
            room = "images" if domain is None else DOMAINS[domain[number]]
            _save(picture(pixels), folder / room / f"{number:06d}.png")
            if mask is not None and (domain is None or domain[number]):
                _save(mask_picture(mask), folder / "masks" / f"{number:06d}.png")

    return write


def imagefolder(job: Export) -> Callable[[Path], None]:
    """`train/clean` and `train/defect` (or `train/images`), `train/masks`, and `train/metadata.jsonl` that joins them.

    A set with masks gives every image one, empty where it is clean: the loader takes no image with a file missing.
    """
    images: ImageSet = job.artifact
    domain = None if images.domain is None else images.domain[...]
    labels = None if images.labels is None else images.labels[...]

    def write(folder: Path) -> None:
        (folder / "train").mkdir()
        with (folder / "train" / "metadata.jsonl").open("w", encoding="utf-8") as lines:
            for number, pixels, mask in rows(job):
                name = f"{number:06d}.png"
                line: dict[str, Any] = {"file_name": f"{'images' if domain is None else DOMAINS[domain[number]]}/{name}"}
                _save(picture(pixels), folder / "train" / line["file_name"])
                if mask is not None:
                    line["mask_file_name"] = f"masks/{name}"
                    _save(mask_picture(mask), folder / "train" / line["mask_file_name"])
                if labels is not None:
                    line["label"] = images.class_names[labels[number]]
                elif domain is not None:
                    line["label"] = DOMAINS[domain[number]]
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")

    return write


def coco(job: Export) -> Callable[[Path], None]:
    """`images/` and `annotations.json`: an instance for every 8-connected component of a mask. Raises UserError without masks.

    An instance is of its image's class, or `defect` where the set has none.
    """
    images: ImageSet = job.artifact
    if images.masks is None:
        raise UserError(
            f"--format coco: image set {images.key[:12]} has no masks, so there is nothing to annotate; take png or imagefolder, "
            "or label it first (reference-difference.label)"
        )
    labels = None if images.labels is None else images.labels[...]
    names = images.class_names if labels is not None else [DOMAINS[1]]

    def write(folder: Path) -> None:
        found: dict[str, Any] = {
            "info": {"description": f"fabloom {images.kind} {images.key}"},
            "licenses": [],
            "categories": [{"id": number, "name": name, "supercategory": "defect"} for number, name in enumerate(names, start=1)],
            "images": [],
            "annotations": [],
        }
        for number, pixels, mask in rows(job):
            name, (height, width) = f"{number:06d}.png", pixels.shape[1:]
            _save(picture(pixels), folder / "images" / name)
            found["images"].append({"id": number + 1, "file_name": name, "height": height, "width": width})
            category = 1 if labels is None else int(labels[number]) + 1
            for instance in instances(mask):
                place = {"id": len(found["annotations"]) + 1, "image_id": number + 1, "category_id": category}
                found["annotations"].append({**place, **instance})
        (folder / "annotations.json").write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")

    return write


def instances(mask: Any) -> Iterator[dict[str, Any]]:
    """COCO's view of each 8-connected component of a mask [H,W]: run lengths, area, box [x, y, width, height]."""
    import numpy as np
    from scipy import ndimage

    parts, _ = ndimage.label(mask, np.ones((3, 3), int))
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        one = parts == number
        vertical, horizontal = box
        yield {
            "segmentation": {"size": list(mask.shape), "counts": run_lengths(one)},
            "area": int(one.sum()),
            "bbox": [horizontal.start, vertical.start, horizontal.stop - horizontal.start, vertical.stop - vertical.start],
            "iscrowd": 0,
        }


def run_lengths(mask: Any) -> list[int]:
    """Lengths of the runs of 0, 1, 0, ... down the columns, left to right, the first of them of 0: COCO's uncompressed RLE."""
    import numpy as np

    flat = np.asarray(mask, bool).ravel(order="F")
    ends = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff(np.concatenate([[0], ends, [flat.size]])).tolist()
    return [0, *counts] if flat[0] else counts


def _save(image: Any, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    image.save(path)
