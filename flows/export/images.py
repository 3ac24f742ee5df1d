"""Image sets as PNG folders, as a COCO instance data set, and as a Hugging Face `imagefolder`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.errors import UserError
from fabloom.kinds import ImageSet
from fabloom.kinds.masks import UNKNOWN, is_defect

from .names import file_names, origins

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


def mask_picture(mask: Any, plain: bool = True) -> Any:
    """A mask [H,W] as a grey PIL image: one of 0 and 1 as 0 and 255, of another set its values, so that nothing is lost."""
    from PIL import Image

    return Image.fromarray(mask * 255 if plain else mask)


def plain_masks(images: ImageSet) -> bool:
    """Whether the masks hold 0 and 1 alone."""
    masks = images.masks
    return masks is None or all(int(masks[start : start + BLOCK].max()) <= 1 for start in range(0, len(images), BLOCK))


def write_classes(images: ImageSet, folder: Path, plain: bool) -> None:
    """`classes.txt`: the name of each value of the masks from 0 on, a line each; 255 is 'cannot tell'. Not for plain masks."""
    if not plain:
        (folder / "classes.txt").write_text("\n".join(images.mask_names) + "\n", encoding="utf-8")


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
    """`clean/` and `defect/` where the domain is known, with `masks/` beside: the layout that `images.load` reads.

    Masks of several classes, or with pixels of 255 (cannot tell), are written as their values, with `classes.txt`. A set with
    sources gives its files their names, and `sources.json` says which file comes from which source.
    """
    domain = None if job.artifact.domain is None else job.artifact.domain[...]
    names, sources = file_names(job.artifact), origins(job.artifact)

    def write(folder: Path) -> None:
        plain, made = plain_masks(job.artifact), {}
        for number, pixels, mask in rows(job):
            room = "images" if domain is None else DOMAINS[domain[number]]
            save(picture(pixels), folder / room / f"{names[number]}.png")
            if mask is not None and (domain is None or mask.any()):
                save(mask_picture(mask, plain), folder / "masks" / f"{names[number]}.png")
            if sources is not None:
                made[f"{room}/{names[number]}.png"] = sources[number]
        write_classes(job.artifact, folder, plain)
        if sources is not None:
            (folder / "sources.json").write_text(json.dumps(made, ensure_ascii=False, indent=1), encoding="utf-8")

    return write


def imagefolder(job: Export) -> Callable[[Path], None]:
    """`train/clean` and `train/defect` (or `train/images`), `train/masks`, and `train/metadata.jsonl` that joins them.

    A set with masks gives every image one, empty where it is clean: the loader takes no image with a file missing. Values of masks
    and names of files are as in `png`; a set with sources has a column `source`.
    """
    images: ImageSet = job.artifact
    names, sources = file_names(images), origins(images)
    domain = None if images.domain is None else images.domain[...]
    labels = None if images.labels is None else images.labels[...]

    def write(folder: Path) -> None:
        plain = plain_masks(images)
        (folder / "train").mkdir()
        with (folder / "train" / "metadata.jsonl").open("w", encoding="utf-8") as lines:
            for number, pixels, mask in rows(job):
                name = f"{names[number]}.png"
                line: dict[str, Any] = {"file_name": f"{'images' if domain is None else DOMAINS[domain[number]]}/{name}"}
                save(picture(pixels), folder / "train" / line["file_name"])
                if mask is not None:
                    line["mask_file_name"] = f"masks/{name}"
                    save(mask_picture(mask, plain), folder / "train" / line["mask_file_name"])
                if labels is not None:
                    line["label"] = images.class_names[labels[number]]
                elif domain is not None:
                    line["label"] = DOMAINS[domain[number]]
                if sources is not None:
                    line["source"] = sources[number]
                lines.write(json.dumps(line, ensure_ascii=False) + "\n")
        write_classes(images, folder, plain)

    return write


def coco(job: Export) -> Callable[[Path], None]:
    """`images/` and `annotations.json`: an instance for every 8-connected component of a mask. Raises UserError without masks.

    Where masks tell classes, a component of one value is an instance of that class; elsewhere an instance is of its image's class,
    or `defect` where the set has none. Pixels of 255 (cannot tell) are a component of the category `cannot tell` with `iscrowd` 1,
    which COCO's evaluation ignores. A set with sources gives its files their names, and images a field `source`.
    """
    images: ImageSet = job.artifact
    if images.masks is None:
        raise UserError(
            f"--format coco: image set {images.key[:12]} has no masks, so there is nothing to annotate; take png or imagefolder, "
            "or label it first (reference-difference.label)"
        )
    categories = Categories.of(images)
    names, sources = file_names(images), origins(images)

    def write(folder: Path) -> None:
        found: dict[str, Any] = {
            "info": {"description": f"fabloom {images.kind} {images.key}"},
            "licenses": [],
            "categories": [],
            "images": [],
            "annotations": [],
        }
        unsure = False
        for number, pixels, mask in rows(job):
            assert mask is not None  # refused above
            name, (height, width) = f"{names[number]}.png", pixels.shape[1:]
            save(picture(pixels), folder / "images" / name)
            origin = {} if sources is None else {"source": sources[number]}
            found["images"].append({"id": number + 1, "file_name": name, "height": height, "width": width, **origin})
            for category, one in categories.instances(number, mask):
                crowd = category > len(categories.names)
                place = {"id": len(found["annotations"]) + 1, "image_id": number + 1, "category_id": category}
                found["annotations"].append({**place, **one.instance(crowd)})
                unsure |= crowd
        found["categories"] = categories.listed(unsure)
        (folder / "annotations.json").write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")

    return write


@dataclass(frozen=True)
class Categories:
    """The categories of a set, numbered from 1, and the instances that a mask holds of each; `labels` [N] where masks tell no class."""

    names: list[str]
    labels: NDArray[np.int16] | None
    by_value: bool

    @classmethod
    def of(cls, images: ImageSet) -> Categories:
        """Of a set with masks."""
        if images.mask_names != list(DOMAINS):
            return cls(images.mask_names, None, True)
        if images.labels is None:
            return cls([DOMAINS[1]], None, False)
        return cls(images.class_names, images.labels[...], False)

    def listed(self, unsure: bool) -> list[dict[str, Any]]:
        """COCO's list; `unsure` adds the category of what nobody can tell."""
        names = [*self.names, "cannot tell"] if unsure else self.names
        return [{"id": number, "name": name, "supercategory": "defect"} for number, name in enumerate(names, start=1)]

    def instances(self, row: int, mask: NDArray[np.uint8]) -> Iterator[tuple[int, Component]]:
        """(category, component) of the components of one image's mask, those of 255 last."""
        values = held(mask)
        if self.by_value:
            for value in sorted(values - {0, UNKNOWN}):
                yield from ((value + 1, one) for one in components(mask == value))
        elif values - {0, UNKNOWN}:
            category = 1 if self.labels is None else int(self.labels[row]) + 1
            yield from ((category, one) for one in components(is_defect(mask)))
        if UNKNOWN in values:
            yield from ((len(self.names) + 1, one) for one in components(mask == UNKNOWN))

    def number(self, category: int) -> int:
        """The value of a category in a mask of classes, from 1: the clean class, which no instance is of, has 0."""
        return category if self.labels is None and not self.by_value else category - 1


def held(mask: NDArray[np.uint8]) -> set[int]:
    """The values that a mask holds."""
    import numpy as np

    return set(np.flatnonzero(np.bincount(mask.ravel(), minlength=UNKNOWN + 1)).tolist())


@dataclass(frozen=True)
class Component:
    """An 8-connected component of a mask [H,W] of `size`: its pixels `inside` [h,w] of a box whose upper left pixel is (y, x)."""

    size: tuple[int, int]
    corner: tuple[int, int]
    inside: NDArray[np.bool_]

    @property
    def box(self) -> tuple[slice, slice]:
        """Where it lies."""
        (y, x), (height, width) = self.corner, self.inside.shape
        return slice(y, y + height), slice(x, x + width)

    @property
    def bbox(self) -> list[int]:
        """[x, y, width, height]."""
        return [self.corner[1], self.corner[0], self.inside.shape[1], self.inside.shape[0]]

    @property
    def area(self) -> int:
        """Its number of pixels."""
        return int(self.inside.sum())

    def instance(self, crowd: bool = False) -> dict[str, Any]:
        """COCO's view: run lengths, area, box."""
        counts = {"size": list(self.size), "counts": self.counts()}
        return {"segmentation": counts, "area": self.area, "bbox": self.bbox, "iscrowd": int(crowd)}

    def counts(self) -> list[int]:
        """Lengths of the runs of 0, 1, 0, ... down the columns of the whole mask, left to right, found in the box alone."""
        import numpy as np

        columns, rows = np.nonzero(self.inside.T)
        at = (columns + self.corner[1]) * self.size[0] + rows + self.corner[0]
        breaks = np.flatnonzero(np.diff(at) != 1)
        edges = np.stack([at[np.r_[0, breaks + 1]], at[np.r_[breaks, len(at) - 1]] + 1], 1).ravel()
        counts: list[int] = np.diff(np.concatenate([[0], edges, [self.size[0] * self.size[1]]])).tolist()
        return counts if counts[-1] else counts[:-1]


def components(mask: NDArray[np.bool_]) -> Iterator[Component]:
    """The 8-connected components of a mask [H,W], first by their upper rows."""
    import numpy as np
    from scipy import ndimage

    parts, _ = ndimage.label(mask, np.ones((3, 3), int))
    for number, box in enumerate(ndimage.find_objects(parts), start=1):
        corner = (box[0].start, box[1].start)
        yield Component((mask.shape[0], mask.shape[1]), corner, parts[box] == number)


def save(image: Any, path: Path, **options: Any) -> None:
    """Write a PIL image, in a folder that is made for it."""
    path.parent.mkdir(exist_ok=True)
    image.save(path, **options)
