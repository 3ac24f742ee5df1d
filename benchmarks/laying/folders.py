"""The layouts, each written with a given format of images and, where it has mask files, a given mode of masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import notes
from .formats import Format
from .truth import CLASSES, HEIGHT, OUTLINES, WIDTH, Truth, blob, channels_first, greys, levelled

Mask = tuple[str, Callable[[Path, np.ndarray], object]] | None
"""Suffix and writer of mask files."""
KINDS = (0, 1, 2)
"""The class of each of the three images of a set: clean, bridge, open."""


def put(path: Path, save: Callable[[Path, np.ndarray], object], values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save(path, values)


def truth(form: Format, files: list[str], kinds: list[int], masks: str = "", *, names: list[str] | None = None, **known: Any) -> Truth:
    """Of images in the order of `files`; `masks` is '' for none, 'one' for 0 and 1, 'classes' for the number of the class."""
    order = sorted(range(len(files)), key=lambda i: files[i])
    stored = levelled([form.stored(grey) for grey in greys(len(files))])
    drawn = {"one": [blob(k) * 1 for k in kinds], "classes": [blob(k) * k for k in kinds], "": None}[masks]
    pixels = [stored[i] for i in order]
    return Truth(
        np.stack(pixels).transpose(0, 3, 1, 2) if form.params.get("channels") else channels_first(pixels),
        None if drawn is None else np.stack([drawn[i] for i in order]).astype(np.uint8),
        off=form.off,
        sources=[files[i] for i in order],
        names=names,
        **{key: [value[i] for i in order] if isinstance(value, list) else value for key, value in known.items()},
    )


def images(root: Path, form: Format, names: list[str]) -> None:
    for name, grey in zip(names, greys(len(names)), strict=True):
        put(root / name, form.save, form.stored(grey))


def flat(root: Path, form: Format, mask: Mask) -> tuple[dict[str, Any], Truth]:
    names = [f"{name}.{form.suffix}" for name in ("c 1", "a[2]", "b.x")]
    images(root, form, names)
    for name, kind in zip(names, KINDS, strict=True):
        if mask is not None:
            put(root / "masks" / f"{name.removesuffix('.' + form.suffix)}.{mask[0]}", mask[1], blob(kind))
    domain = [int(kind > 0) for kind in KINDS]
    return {}, truth(form, names, list(KINDS), "one" if mask else "", **({"domain": domain} if mask else {}))


def domains(root: Path, form: Format, mask: Mask) -> tuple[dict[str, Any], Truth]:
    names = [f"{('clean', 'defect')[kind > 0]}/{'xyz'[kind]}.{form.suffix}" for kind in KINDS]
    images(root, form, names)
    for name, kind in zip(names, KINDS, strict=True):
        if mask is not None and kind:
            put(root / "masks" / f"{Path(name).stem}.{mask[0]}", mask[1], blob(kind))
    return {}, truth(form, names, list(KINDS), "one" if mask else "", domain=[int(kind > 0) for kind in KINDS])


def classes(root: Path, form: Format, mask: Mask) -> tuple[dict[str, Any], Truth]:
    names = [f"{('ok', 'bridge', 'open')[kind]}/{'rst'[kind]}.{form.suffix}" for kind in KINDS]
    images(root, form, names)
    for name, kind in zip(names, KINDS, strict=True):
        if mask is not None and kind:
            put(root / "masks" / CLASSES[kind] / f"{Path(name).stem}.{mask[0]}", mask[1], blob(kind))
    labels = [CLASSES[kind] for kind in KINDS]
    known = {"labels": labels, "names": list(CLASSES), "domain": [int(kind > 0) for kind in KINDS]}
    return {"clean_class": "ok"}, truth(form, names, list(KINDS), "classes" if mask else "", **known)


def mvtec(root: Path, form: Format, mask: Mask) -> tuple[dict[str, Any], Truth]:
    kinds = [0, 0, 1, 2]
    names = [f"{place}/00{i}.{form.suffix}" for i, place in enumerate(("train/good", "test/good", "test/bridge", "test/open"))]
    images(root, form, names)
    for name, kind in zip(names, kinds, strict=True):
        if mask is not None and kind:
            put(root / "ground_truth" / CLASSES[kind] / f"{Path(name).stem}_mask.{mask[0]}", mask[1], blob(kind))
    known = {"labels": [CLASSES[kind] for kind in kinds], "names": list(CLASSES), "domain": [int(kind > 0) for kind in kinds]}
    return {}, truth(form, names, kinds, "classes" if mask else "", **known)


def loco(root: Path, form: Format, mask: Mask) -> tuple[dict[str, Any], Truth]:
    """Several masks an image in a folder of its name, each with a value of its own; a configuration that names them."""
    places = ("test/bridge", "test/good", "test/open", "train/good", "validation/good")
    kinds = [{"bridge": 1, "open": 2}.get(place.partition("/")[2], 0) for place in places]
    names = [f"{place}/00{i}.{form.suffix}" for i, place in enumerate(places)]
    images(root, form, names)
    for name, kind in zip(names, kinds, strict=True):
        if mask is not None and kind:
            halves = np.zeros((2, HEIGHT, WIDTH), bool)
            halves[0, : HEIGHT // 2], halves[1, HEIGHT // 2 :] = blob(kind)[: HEIGHT // 2], blob(kind)[HEIGHT // 2 :]
            folder = root / "ground_truth" / CLASSES[kind] / Path(name).stem
            for place, half in enumerate([half for half in halves if half.any()]):
                put(folder / f"00{place}.{mask[0]}", mask[1], half)
    (root / "defects_config.json").write_text('[{"defect_name": "bridge", "pixel_value": 255, "saturation_threshold": 1.0}]')
    known = {"labels": [CLASSES[kind] for kind in kinds], "names": list(CLASSES), "domain": [int(kind > 0) for kind in kinds]}
    return {}, truth(form, names, kinds, "classes" if mask else "", **known)


def pairs(root: Path, form: Format, mask: Mask) -> tuple[dict[str, Any], Truth]:
    """Test images first in what is written; the range of wide levels is that of both."""
    tests, references = ([f"{name}_{word}.{form.suffix}" for name in ("p1", "p2")] for word in ("test", "temp"))
    images(root, form, [*tests, *references])
    for name in tests:
        if mask is not None:
            put(root / "masks" / f"{Path(name).stem}.{mask[0]}", mask[1], blob(1))
    made = truth(form, [f"{i}" for i in range(4)], [1, 1, 1, 1])
    found = Truth(made.images[:2], references=made.images[2:], off=form.off, sources=tests)
    if mask is not None:
        found.masks, found.domain = np.stack([blob(1)] * 2).astype(np.uint8), [1, 1]
    return {"test": f"{{name}}_test.{form.suffix}", "reference": f"{{name}}_temp.{form.suffix}"}, found


def boxed(which: int) -> np.ndarray:
    """All pixels between the outermost ones of a blob."""
    mask = blob(which)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = True
    return mask


PLACES = {"voc": "JPEGImages/", "yolo": "images/"}
"""Where a layout keeps its images."""


def noted(kind: str) -> Callable[[Path, Format, Mask], tuple[dict[str, Any], Truth]]:
    """A layout with annotations of a tool: three images, the first without a defect, the last with two of two classes."""

    def write(root: Path, form: Format, mask: Mask) -> tuple[dict[str, Any], Truth]:
        names = [f"{name}.{form.suffix}" for name in ("n1", "n2", "n3")]
        places = [f"{PLACES.get(kind.partition('-')[0], '')}{name}" for name in names]
        images(root, form, places)
        objects: list[list[tuple[str, int]]] = [[], [("bridge", 1)], [("bridge", 1), ("open", 2)]]
        drawn = np.zeros((3, HEIGHT, WIDTH), np.uint8)
        for row, several in enumerate(objects):
            for label, which in several:
                drawn[row][boxed(which) if kind.endswith("-boxes") else blob(which)] = CLASSES.index(label)
        params = notes.WRITERS[kind](root, names, objects, OUTLINES, (HEIGHT, WIDTH), drawn)
        made = truth(form, places, [0, 1, 2])
        made.masks, made.names, made.domain = drawn, list(CLASSES), [0, 1, 1]
        return params, made

    return write


def klarf(version: str) -> Callable[[Path, Format, Mask], tuple[dict[str, Any], Truth]]:
    def write(root: Path, form: Format, mask: Mask) -> tuple[dict[str, Any], Truth]:
        names = [f"D{i}.{form.suffix}" for i in range(3)]
        images(root, form, names)
        notes.KLARFS[version](root, names, [4, 17, 4])
        return {}, truth(form, names, [0, 1, 2], labels=["Bridge", "Line open", "Bridge"], names=["Bridge", "Line open"])

    return write


PLAIN = {"flat": flat, "domains": domains, "classes": classes, "mvtec": mvtec, "loco": loco, "pairs": pairs}
NOTED = {kind: noted(kind) for kind in notes.WRITERS} | {f"klarf-{version}": klarf(version) for version in notes.KLARFS}
