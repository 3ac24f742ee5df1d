"""Cases of their own: masks that tell classes, names, doubtful layouts, data bars, hot pixels, turned pictures, unsafe documents."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from . import notes
from .folders import images, put, truth
from .formats import FORMATS, npy
from .truth import CLASSES, HEIGHT, OUTLINES, WIDTH, Case, Truth, blob, channels_first, greys, levelled

PNG = FORMATS["png8"]
NAMES = ["k0.png", "k1.png", "k2.png"]
GIVEN = tuple[dict[str, Any], Truth | None]


def grey(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values.astype(np.uint8)).save(path)


def valued(save: Callable[[Path, np.ndarray], object], values: tuple[int, int], said: Any, suffix: str = "png") -> Callable[[Path], GIVEN]:
    """Three masks, of nothing, the first and the second class; both in the last."""

    def write(root: Path) -> GIVEN:
        images(root, PNG, NAMES)
        drawn = []
        for name, kind in zip(NAMES, (0, 1, 2), strict=True):
            mask, wanted = np.zeros((HEIGHT, WIDTH), np.int64), np.zeros((HEIGHT, WIDTH), np.uint8)
            for which in (1, 2)[:kind]:
                mask[blob(which)], wanted[blob(which)] = values[which - 1], which
            put((root / "masks" / name).with_suffix(f".{suffix}"), save, mask)
            drawn.append(wanted)
        made = truth(PNG, NAMES, [0, 1, 2])
        made.masks, made.names, made.domain = np.stack(drawn), list(CLASSES), [0, 1, 1]
        return ({} if said is None else {"classes": said}), made

    return write


def colours(path: Path, values: np.ndarray) -> None:
    Image.fromarray(np.stack([values >> 16, values >> 8 & 255, values & 255], -1).astype(np.uint8)).save(path)


def palette(path: Path, values: np.ndarray) -> None:
    picture = Image.fromarray(values.astype(np.uint8), "P")
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    picture.save(path)


def classes_txt(root: Path) -> GIVEN:
    params, made = valued(grey, (1, 2), None)(root)
    (root / "classes.txt").write_text("clean\nbridge\nopen\n")
    return params, made


def class_folders(root: Path) -> GIVEN:
    images(root, PNG, NAMES)
    for name, which in (("k1", 1), ("k2", 1), ("k2", 2)):
        grey(root / "masks" / CLASSES[which] / f"{name}.png", blob(which) * 255)
    made = valued(grey, (1, 2), None)(root / "aside")[1]
    for path in (root / "aside").rglob("*.png"):
        path.unlink()
    return {"clean": ["k0*"]}, made


def unknown(root: Path) -> GIVEN:
    params, made = valued(grey, (1, 255), ["bridge", "open"])(root)
    assert made is not None and made.masks is not None
    made.masks[made.masks == 2], made.domain = 255, [0, 1, 1]
    return params, made


def seen(
    params: dict[str, Any], change: Callable[[Path], object], wanted: Callable[[Truth], object] = lambda t: None
) -> Callable[[Path], GIVEN]:
    """Three plain images, after something was changed in their folder."""

    def write(root: Path) -> GIVEN:
        images(root, PNG, NAMES)
        made = truth(PNG, NAMES, [0, 1, 2])
        change(root)
        wanted(made)
        return params, made

    return write


def renamed(*pairs: tuple[str, str]) -> Callable[[Path], object]:
    return lambda root: [put_aside(root / old, root / new) for old, new in pairs]


def put_aside(old: Path, new: Path) -> None:
    new.parent.mkdir(parents=True, exist_ok=True)
    old.rename(new)


def composed(root: Path) -> GIVEN:
    """The image's name in one form of Unicode, its mask's in the other."""
    images(root, PNG, ["gr\u00e4te.png"])
    grey(root / "masks" / "gra\u0308te.png", blob(1) * 255)
    made = truth(PNG, ["gr\u00e4te.png"], [1], "one", domain=[1])
    return {}, made


def hot(share: Callable[[np.ndarray], None], params: dict[str, Any]) -> Callable[[Path], GIVEN]:
    """12-bit levels in 16 bits, and a hot pixel or a data bar at full scale."""

    def write(root: Path) -> GIVEN:
        stored = [one.astype(np.uint16) * 16 for one in greys(2)]
        for name, values in zip("ab", stored, strict=True):
            share(values)
            npy(root / f"{name}.npy", values)
        rows = params.get("crop_bottom", 0)
        kept = [one[: HEIGHT - rows] for one in stored]
        return params, Truth(channels_first(levelled(kept)), sources=["a.npy", "b.npy"])

    return write


def hot_pixel(values: np.ndarray) -> None:
    values[0, 0] = 65535


def data_bar(values: np.ndarray) -> None:
    values[-4:] = 65535


def turned(tag: int, params: dict[str, Any], of_mask: bool, of_image: bool = True) -> Callable[[Path], GIVEN]:
    def write(root: Path) -> GIVEN:
        tags = Image.Exif()
        tags[0x0112] = tag
        picture, mask = Image.fromarray(greys(1)[0]), Image.fromarray(blob(2).astype(np.uint8) * 255)
        (root / "masks").mkdir()
        picture.save(root / "t.png", **({"exif": tags} if of_image else {}))
        mask.save(root / "masks" / "t.png", **({"exif": tags} if of_mask else {}))
        if params.get("orientation") == "ignore":
            return params, Truth(greys(1)[0][None, None], (np.asarray(mask) > 0)[None].astype(np.uint8))
        with Image.open(root / "t.png") as one, Image.open(root / "masks" / "t.png") as other:
            upright = np.asarray(ImageOps.exif_transpose(one)), np.asarray(ImageOps.exif_transpose(other)) > 0
        return params, Truth(upright[0][None, None], upright[1][None].astype(np.uint8))

    return write


def coco_with(
    change: Callable[[dict[str, Any]], object], params: dict[str, Any] | None = None, area: str = "polygons"
) -> Callable[[Path], GIVEN]:
    def write(root: Path) -> GIVEN:
        images(root, PNG, NAMES)
        objects: notes.Objects = [[], [("bridge", 1)], [("open", 2)]]
        notes.coco(area)(root, NAMES, objects, OUTLINES, (HEIGHT, WIDTH), np.zeros(0))
        file = root / "annotations" / "instances.json"
        content = json.loads(file.read_text())
        change(content)
        file.write_text(json.dumps(content))
        made = truth(PNG, NAMES, [0, 1, 2], "classes", domain=[0, 1, 1])
        made.names = list(CLASSES)
        return params or {}, made

    return write


def boxes(params: dict[str, Any]) -> Callable[[Path], GIVEN]:
    def write(root: Path) -> GIVEN:
        _, made = coco_with(lambda c: None, area="boxes")(root)
        assert made is not None and made.masks is not None
        if params.get("boxes") == "labels":
            made.masks, made.labels = None, list(CLASSES)
        else:
            made.masks[2, 2:14, 3:18] = 2
        return params, made

    return write


def xml(text: str) -> Callable[[Path], object]:
    return lambda root: (root / "annotations.xml").write_text(text)


BOMB = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x "y"><!ENTITY z "&x;&x;">]><annotations><image name="k0.png">&z;</image></annotations>'


def at(*path: Any, value: Any) -> Callable[[dict[str, Any]], object]:
    """Set a place of a document."""

    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


def nothing(_: Any) -> None: ...


CASES = [
    Case("values 1 and 2, by list", valued(grey, (1, 2), ["bridge", "open"])),
    Case("values 128 and 255, by number", valued(grey, (128, 255), {"bridge": 128, "open": 255})),
    Case("values 1 and 2 in a palette", valued(palette, (1, 2), ["bridge", "open"])),
    Case("colours by number", valued(colours, (0x0000FF, 0xFF0000), {"open": 0xFF0000, "bridge": 0x0000FF})),
    Case("values in NPY", valued(np.save, (1, 2), ["bridge", "open"], "npy")),
    Case(
        "values in 16 bits", valued(lambda p, v: Image.fromarray(v.astype(np.uint16)).save(p), (300, 60000), {"bridge": 300, "open": 60000})
    ),
    Case(
        "values in a PGM of 3",
        valued(
            lambda p, v: p.write_bytes(b"P5 %d %d 3\n" % (WIDTH, HEIGHT) + v.astype(np.uint8).tobytes()),
            (1, 3),
            {"bridge": 1, "open": 3},
            "pgm",
        ),
    ),
    Case("values by classes.txt", classes_txt),
    Case("values without names", valued(grey, (1, 2), None), "refused"),
    Case("a value without a name", valued(grey, (1, 3), ["bridge", "open"]), "refused"),
    Case("255 is cannot tell", unknown),
    Case("255 alone under names", valued(grey, (255, 255), ["bridge", "open"]), "refused"),
    Case("masks in folders of classes", class_folders),
    Case("a name in two forms of Unicode", composed),
    Case("inverted masks", lambda root: inverted(root, {}), "told", told="invert_masks"),
    Case("inverted masks, said", lambda root: inverted(root, {"invert_masks": True})),
    Case("a hot pixel", hot(hot_pixel, {})),
    Case("a data bar, cut", hot(data_bar, {"crop_bottom": 4})),
    Case("a data bar", hot(data_bar, {}), told="crop_bottom"),
    *[Case(f"turned by {tag}, image and mask", turned(tag, {}, True)) for tag in range(1, 9)],
    *[Case(f"turned by {tag}, the image alone", turned(tag, {}, False), "refused") for tag in range(2, 9)],
    *[Case(f"turned by {tag}, ignored", turned(tag, {"orientation": "ignore"}, False)) for tag in (2, 3, 6)],
    *[Case(f"turned by {tag}, the image alone, applied", turned(tag, {"orientation": "apply"}, False)) for tag in (2, 3, 4)],
    *[Case(f"turned by {tag}, the mask alone, applied", turned(tag, {"orientation": "apply"}, True, False)) for tag in (2, 3, 4)],
    *[Case(f"turned by {tag}, the mask alone", turned(tag, {}, True, False), "refused") for tag in (2, 6)],
    Case("other files are told", seen({}, lambda r: (r / "raw.heic").write_bytes(b"x")), told="raw.heic"),
    Case("other files, strict", seen({"strict": True}, lambda r: (r / "raw.heic").write_bytes(b"x")), "refused"),
    Case(
        "train and val folders",
        seen({}, renamed(("k0.png", "train/k0.png"), ("k1.png", "val/k1.png"), ("k2.png", "val/k2.png"))),
        "refused",
    ),
    Case("images beside a folder", seen({}, renamed(("k0.png", "more/k0.png"))), "refused"),
    Case("folders one deeper", seen({}, renamed(("k0.png", "a/b/k0.png"), ("k1.png", "a/c/k1.png"), ("k2.png", "a/c/k2.png"))), "refused"),
    Case("template pairs unsaid", seen({}, renamed(("k0.png", "x_temp.png"), ("k1.png", "x_test.png"), ("k2.png", "aside"))), "refused"),
    Case(
        "a pair without a partner",
        seen(
            {"test": "{name}_test.png", "reference": "{name}_temp.png"},
            renamed(("k0.png", "x_temp.png"), ("k1.png", "x_test.png"), ("k2.png", "y_test.png")),
        ),
        "refused",
    ),
    Case(
        "two truths",
        seen({}, lambda r: (grey(r / "masks/k0.png", blob(1) * 255), (r / "k0.json").write_text('{"shapes": [], "imagePath": "k0.png"}'))),
        "refused",
    ),
    Case("a broken annotation", seen({}, lambda r: (r / "k0.json").write_text('{"shapes": [')), "refused"),
    Case(
        "one image without annotation", seen({}, lambda r: (r / "k0.json").write_text('{"shapes": [], "imagePath": "k0.png"}')), "refused"
    ),
    Case("brackets in a pattern", seen({"clean": ["[k]0*"], "defect": ["k[12]*"]}, nothing, lambda t: setattr(t, "domain", [0, 1, 1]))),
    Case("mixed depths", seen({}, lambda r: np.save(r / "k3.npy", greys(1)[0].astype(np.float32))), "refused"),
    Case("mixed sizes", seen({}, lambda r: grey(r / "k3.png", greys(1)[0].T)), "refused"),
    Case("XML with entities", seen({}, xml(BOMB)), "refused"),
    Case("XML without end", seen({}, xml("<annotations>" * 200)), "refused"),
    Case("CVAT video", seen({}, xml('<annotations><track id="0" label="bridge"/></annotations>')), "refused"),
    Case("COCO of boxes", boxes({}), "refused"),
    Case("COCO of boxes, as labels", boxes({"boxes": "labels"})),
    Case("COCO of boxes, filled", boxes({"boxes": "fill"})),
    Case("COCO that names a file elsewhere", coco_with(at("images", 0, "file_name", value="../../etc/k9.png")), "refused"),
    Case("COCO of other sizes", coco_with(at("images", 0, "width", value=99)), "refused"),
    Case("COCO with an unknown category", coco_with(at("annotations", 0, "category_id", value=99)), "refused"),
    Case("COCO with a number that is none", coco_with(at("annotations", 0, "segmentation", 0, 3, value="x")), "refused"),
    Case("COCO with an outline elsewhere", coco_with(at("annotations", 0, "segmentation", value=[[90, 90, 99, 90, 99, 99]])), "refused"),
    Case(
        "COCO with runs that do not add up", coco_with(at("annotations", 0, "segmentation", "counts", 0, value=5), area="runs"), "refused"
    ),
    Case("COCO with a path in front", coco_with(at("images", 1, "file_name", value="C:\\data\\k1.png"))),
    Case("COCO that leaves an image out", coco_with(lambda c: c["images"].pop(0)), "refused"),
    Case("COCO without a word on an image, clean", coco_with(lambda c: c["images"].pop(0), {"unlisted": "clean"})),
]


def inverted(root: Path, params: dict[str, Any]) -> GIVEN:
    """Masks in which 255 is the background."""
    images(root, PNG, NAMES[:2])
    for name, which in zip(NAMES, (1, 2), strict=False):
        grey(root / "masks" / name, ~blob(which) * 255)
    return params, truth(PNG, NAMES[:2], [1, 2], "one", domain=[1, 1])
