"""Cases of YOLO's label files and of MVTec LOCO's folders that are spoilt, or laid out in other ways."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import notes
from .folders import images, truth
from .special import GIVEN, NAMES, PNG, grey, nothing
from .truth import CLASSES, HEIGHT, OUTLINES, WIDTH, Case, blob

OBJECTS: notes.Objects = [[], [("bridge", 1)], [("bridge", 1), ("open", 2)]]


def yolo_with(change: Callable[[Path], object], params: dict[str, Any], area: str = "polygons") -> Callable[[Path], GIVEN]:
    """Three images in images/ with their label files, one of which is changed."""

    def write(root: Path) -> GIVEN:
        images(root, PNG, [f"images/{name}" for name in NAMES])
        drawn = np.zeros((3, HEIGHT, WIDTH), np.uint8)
        for row, several in enumerate(OBJECTS):
            for label, which in several:
                drawn[row][blob(which)] = CLASSES.index(label)
        notes.yolo(area, "list")(root, NAMES, OBJECTS, OUTLINES, (HEIGHT, WIDTH), drawn)
        change(root)
        made = truth(PNG, [f"images/{name}" for name in NAMES], [0, 1, 2])
        made.masks, made.names, made.domain = drawn, list(CLASSES), [0, 1, 1]
        return params, made

    return write


def yolo_line(text: str) -> Callable[[Path], object]:
    return lambda root: (root / "labels/k1.txt").write_text(text)


YOLO_FAULTS: dict[str, Callable[[Path], object]] = {
    "pixels for shares": yolo_line("2 6 4 16 4 16 9 6 9"), "a confidence": yolo_line("2 0.5 0.5 0.2 0.2 0.93"),
    "a class without a name": yolo_line("9 0.1 0.1 0.5 0.1 0.5 0.5"), "half a point": yolo_line("2 0.1 0.1 0.5 0.1 0.5 0.5 0.3"),
    "words for numbers": yolo_line("bridge 0.1 0.1 0.5 0.1"), "a box of no size": yolo_line("2 0.5 0.5 0 0.2"),
    "NaN": yolo_line("2 nan 0.1 0.5 0.1 0.5 0.5"), "a box among polygons": yolo_line("2 0.5 0.5 0.2 0.2"),
    "bytes": lambda r: (r / "labels/k1.txt").write_bytes(b"\xff\xfe\x00"),
    "other names in classes.txt": lambda r: (r / "classes.txt").write_text("a\nb\nc\n"), "no names": lambda r: (r / "data.yaml").unlink(),
    "names that are none": lambda r: (r / "data.yaml").write_text("names: 3\n"),
    "an image of no label file": lambda r: (r / "labels/k0.txt").unlink(),
    "a label file of no image": lambda r: (r / "images/k1.png").unlink(),
}  # fmt: skip


def yolo_labels(root: Path) -> GIVEN:
    """Boxes say the class of each image; the one with two classes is left out."""
    _, made = yolo_with(lambda r: (r / "labels/k2.txt").write_text("0 0.5 0.5 0.2 0.2"), {}, "boxes")(root)
    assert made is not None
    made.masks, made.labels = None, ["clean", "bridge", "open"]
    return {"boxes": "labels"}, made


def yolo_apart(root: Path) -> GIVEN:
    """train/images with train/labels, and the same for valid."""
    _, made = yolo_with(nothing, {})(root)
    assert made is not None
    places = ["train", "train", "valid"]
    for name, place in zip(NAMES, places, strict=True):
        for folder, last in (("images", name), ("labels", f"{Path(name).stem}.txt")):
            (root / place / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / last).rename(root / place / folder / last)
    made.sources = [f"{place}/images/{name}" for place, name in zip(places, NAMES, strict=True)]
    return {}, made


def loco_twice(root: Path) -> GIVEN:
    images(root, PNG, ["train/good/a.png", "test/bridge/b.png"])
    for place in ("b.png", "b/000.png"):
        grey(root / "ground_truth/bridge" / place, blob(1) * 255)
    return {}, None


CASES = [
    *[Case(f"YOLO with {name}", yolo_with(change, {}), "refused") for name, change in YOLO_FAULTS.items()],
    Case("YOLO of boxes, as labels", yolo_labels),
    Case("YOLO with an image of no label file, clean", yolo_with(lambda r: (r / "labels/k0.txt").unlink(), {"unlisted": "clean"})),
    Case("YOLO in train and valid", yolo_apart),
    Case("LOCO with a mask beside its folder", loco_twice, "refused"),
]
