"""How a folder of images is laid out, by the names of its files and its annotations alone: `find`, and `scene` that settles it.

No pixel is decoded here, and nothing is loaded that takes long.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.errors import DataError
from fabloom.regular import read_regular

from . import folders, mvtec
from .annotations.coco import coco, is_coco
from .annotations.cvat import cvat, is_cvat
from .annotations.klarf import is_klarf
from .annotations.labelme import is_labelme, labelme
from .annotations.listed import klarf
from .annotations.voc import MASKS, is_voc, voc
from .annotations.yolo import yolo, yolo_files
from .entries import Entry, Scene
from .maskfiles import inside_of
from .pairs import pairs, propose
from .splits import splits, why_not_splits
from .tree import Tree, is_image, stem

if TYPE_CHECKING:
    from .params import LoadParams

PLAIN = ("flat", "domains", "classes", "splits", "mvtec", "pairs")
ANNOTATED: dict[str, Callable[[Tree, LoadParams, list[str]], Scene]] = {
    "coco": coco, "labelme": labelme, "cvat": cvat, "voc": voc, "yolo": yolo, "klarf": klarf,
}  # fmt: skip
LAYOUTS = (*PLAIN, *ANNOTATED)
OPTIONS: dict[str, tuple[str, ...]] = {
    "clean": ("flat", "domains", "pairs", "coco", "labelme", "cvat", "voc", "yolo"),
    "defect": ("flat", "domains", "pairs"),
    "clean_class": ("classes", "mvtec", *ANNOTATED),
    "masks": ("flat", "domains", "classes", "pairs"),
    "annotations": tuple(ANNOTATED),
    "boxes": ("coco", "cvat", "voc", "yolo"),
    "box_lists": ("pairs",),
    "split": ("splits", "mvtec"),
    "lot": ("splits",),
    "view": ("klarf",),
}
"""Parameters that only some layouts have a use for; given for another one they are refused."""


@dataclass(frozen=True)
class Fit:
    """A layout that fits a folder. `params` are those of `images.load` that say so, beside `path`.

    `classes` counts images by class or domain ('clean' and 'defect'); an image with shapes of two classes counts in both. `masks` and
    `annotations` count images that have some. `names` are the images, relative to the folder, `references` those beside them.
    `problem` is why `images.load` would refuse these parameters, None where it takes them; numbers are 0 then.
    """

    layout: str
    params: dict[str, Any]
    images: int = 0
    masks: int = 0
    annotations: int = 0
    classes: dict[str, int] = field(default_factory=dict)
    class_names: tuple[str, ...] = ()
    clean_known: bool = False
    names: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str | None = None


@dataclass(frozen=True)
class Found:
    """What `find` knows of a folder: every layout that fits; `layout` is the one that `images.load` takes by itself.

    `why` is empty then, else a sentence: none fits, or several do and one must be chosen by the parameter `layout`.
    """

    folder: str
    layout: str | None
    fits: tuple[Fit, ...]
    why: str = ""

    @property
    def fit(self) -> Fit | None:
        """The fit of `layout`."""
        return next((fit for fit in self.fits if fit.layout == self.layout), None)


def find(folder: str | Path, **params: Any) -> Found:
    """Look at a folder or file; `params` are parameters of `images.load` that are already decided. Raises DataError where nothing is there.

    >>> import tempfile; folder = Path(tempfile.mkdtemp()); (folder / "a.png").touch(); (folder / "b.png").touch()
    >>> found = find(folder); found.layout, found.fit.images, found.fit.names
    ('flat', 2, ('a.png', 'b.png'))
    """
    from .params import LoadParams

    asked = LoadParams.model_validate({"path": str(folder), **params})
    tree = Tree(asked.path.path)
    fits, reasons = fitting(tree, asked)
    told = tuple(_fit(tree, name, asked, params) for name in fits)
    return Found(str(folder), fits[0] if len(fits) == 1 else None, told, why(tree, fits, reasons))


def scene(params: LoadParams) -> Scene:
    """The images of a folder under the layout that the parameters name, or the only one that fits. Raises DataError without one."""
    tree = Tree(params.path.path)
    fits, reasons = fitting(tree, params)
    if len(fits) != 1:
        raise DataError(why(tree, fits, reasons))
    for option, layouts in OPTIONS.items():
        if fits[0] not in layouts and getattr(params, option) != type(params).model_fields[option].default:
            raise DataError(f"{tree.root}: {option} has no meaning for layout {fits[0]}, only for {', '.join(layouts)}; leave it out")
    made = _read(tree, fits[0], params)
    folders.idle_patterns(tree.root, [entry.name for entry in made.entries], params)
    if params.classes and not (made.values and any(entry.masks for entry in made.entries)):
        raise DataError(f"{tree.root}: classes names values of masks, but there are no masks that tell classes by value; leave it out")
    if params.invert_masks and not any(entry.masks for entry in made.entries):
        raise DataError(f"{tree.root}: invert_masks has no meaning without mask files; leave it out")
    return replace(made, skipped=skipped(tree, made))


def _read(tree: Tree, layout: str, params: LoadParams) -> Scene:
    if layout == "pairs":
        return pairs(tree, params)
    if layout in ANNOTATED:
        return ANNOTATED[layout](tree, params, documents(tree).get(layout, []))
    if layout in ("mvtec", "splits"):
        return (mvtec.mvtec if layout == "mvtec" else splits)(tree, params)
    read: Callable[[Tree, LoadParams], Scene] = getattr(folders, layout)
    return read(tree, params)


def skipped(tree: Tree, made: Scene) -> tuple[str, ...]:
    """Files that say nothing under a layout, by name."""
    return () if tree.single else tuple(name for name in tree.every() if name not in made.used)


def fitting(tree: Tree, params: LoadParams) -> tuple[list[str], dict[str, str]]:
    """The layouts that fit, or the one asked for; and for each other one why it does not."""
    masks = None
    if params.masks is not None:
        masks = inside_of(tree, params.masks.path) if params.masks.path.is_dir() else None
    elif "masks" in tree.folders:
        masks = "masks"
    asked = None if params.layout == "auto" else params.layout
    if asked is None and (params.test is not None or params.reference is not None):
        asked = "pairs"
    found = {} if tree.single else documents(tree, named=asked is not None)
    reasons = {
        "flat": folders.why_not_flat(tree, masks),
        "domains": folders.why_not_domains(tree, masks),
        "classes": folders.why_not_classes(tree, masks, asked=asked == "classes"),
        "splits": why_not_splits(tree),
        "mvtec": mvtec.why_not_mvtec(tree),
        "pairs": None if asked == "pairs" or propose(tree) else "no two names that differ in a reference's word alone",
        **{name: None if found.get(name) else f"no {name} annotations" for name in ANNOTATED},
    }
    if any(folder.rpartition("/")[2] == MASKS for folder in tree.pictured):
        reasons["voc"] = None
    if tree.single:
        return ["flat"], {}
    if asked is not None:
        if reasons[asked] is not None:
            raise DataError(f"{tree.root}: layout {asked} does not fit: {reasons[asked]}")
        return [asked], {}
    annotated = [name for name in ANNOTATED if reasons[name] is None]
    if annotated and masks is None:  # names alone say less than the annotations do, but a second truth is a choice
        for name in ("flat", "pairs") if reasons["pairs"] is None else ("flat",):
            reasons[name] = reasons[name] or f"{annotated[0]} annotations say more"
    fits = [name for name in LAYOUTS if reasons[name] is None]
    return fits, {name: reason for name, reason in reasons.items() if reason is not None}


def documents(tree: Tree, *, named: bool = True) -> dict[str, list[str]]:
    """The annotation files of a tree by their layout, as their contents say.

    A JSON or XML file that cannot be read may have been an annotation: DataError, unless the layout is `named` already.
    """
    found: dict[str, list[str]] = {}
    for name in tree.every():
        if is_image(name):
            continue
        try:
            kind = _kind(tree, name)
        except DataError as error:
            if named:
                continue
            raise DataError(f"{error}. If it is no annotation, name the layout, e.g. layout: flat") from None
        if kind is not None:
            found.setdefault(kind, []).append(name)
    return found | ({"yolo": labels} if (labels := yolo_files(tree)) else {})


def _kind(tree: Tree, name: str) -> str | None:
    """The layout whose annotation a file is."""
    suffix = name.rpartition(".")[2].casefold()
    if suffix == "json":
        content = tree.json(name)
        return "coco" if is_coco(content) else "labelme" if is_labelme(content) else None
    if suffix == "xml":
        root = tree.xml(name)
        return "cvat" if is_cvat(root) else "voc" if is_voc(root) else None
    if suffix in ("txt", "csv", "md", "yaml", "yml", "py"):
        return None
    return "klarf" if is_klarf(read_regular(tree.path(name), 200)) else None


def why(tree: Tree, fits: list[str], reasons: dict[str, str]) -> str:
    """A sentence on why no layout is settled; '' where one is."""
    if len(fits) == 1:
        return ""
    if fits:
        return f"{tree.root}: may be laid out as {' or '.join(fits)}; choose one, e.g. layout: {fits[0]}"
    images = next((image for folder in tree.pictured for image in tree.images(folder)), None)
    if images is None:
        seen = sorted({f".{name.rpartition('.')[2]}" if "." in name else name for name in tree.every()})
        return f"{tree.root}: no images in it" + (f", only {', '.join(seen[:8])}" if seen else "")
    told = [f"{name}: {reason}" for name, reason in reasons.items() if name in ("flat", "domains", "classes", "splits", "mvtec")]
    return f"{tree.root}: no layout fits ({'; '.join(told)}). Give the path of one of its folders, or layout: {' | '.join(LAYOUTS)}"


def _fit(tree: Tree, layout: str, asked: LoadParams, given: dict[str, Any]) -> Fit:
    params: dict[str, Any] = {**given, "layout": layout}
    if layout == "pairs" and asked.test is None:
        params |= propose(tree) or {}
    try:
        made = _read(tree, layout, asked)
    except DataError as error:
        return Fit(layout, params, documents=tuple(documents(tree).get(layout, ())), problem=str(error))
    entries = made.entries
    before = len(str(tree.root / "_")) - 1
    return Fit(
        layout,
        params,
        images=len(entries),
        masks=sum(bool(entry.masks) for entry in entries),
        annotations=sum(entry.shapes is not None for entry in entries),
        classes=made.counts(),
        class_names=made.classes,
        clean_known=made.clean is not None or any(entry.domain is not None for entry in entries),
        names=tuple(str(entry.path)[before:] for entry in entries),
        references=tuple(str(entry.reference)[before:] for entry in entries if entry.reference is not None),
        documents=made.annotations,
        skipped=skipped(tree, made),
        notes=made.notes,
    )


__all__ = ["LAYOUTS", "Entry", "Fit", "Found", "Scene", "find", "scene", "skipped", "stem"]
