"""Layouts that folders and names of files say alone: flat, clean/ and defect/, class folders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import normalize

from fabloom.errors import DataError

from .entries import CLEAN, Entry, Scene, ordered
from .maskfiles import MaskFolder, classes_file, mask_folder
from .tree import Tree, stem

if TYPE_CHECKING:
    from .params import LoadParams

DOMAINS = {"clean": 0, "defect": 1}
SPLITS = {
    "train", "test", "val", "valid", "validation", "images", "ground_truth", "annotations", "masks", "labels", "jpegimages",
    "segmentationclass", "segmentationobject",
}  # fmt: skip
"""Folders so called are hardly classes of images: only `layout: classes` takes them as such."""
CLEAN_WORDS = {"good", "ok", "pass", "normal", "none", "no_defect", "defect_free", "reference"}
"""Words that probably mean clean, and are told, never taken."""


def why_not_flat(tree: Tree, masks: str | None) -> str | None:
    """What keeps a folder from being flat: images in it or in `images/` alone, with an optional masks/."""
    others = [name for name in tree.inside("") if name != masks]
    if tree.images():
        return f"folder '{others[0]}' lies beside images; if it holds masks, say masks: {tree.path(others[0])}" if others else None
    if others == ["images"] and not tree.inside("images"):
        return None
    return "no images right in it"


def why_not_domains(tree: Tree, masks: str | None) -> str | None:
    """What keeps a folder from being clean/ and defect/ with an optional masks/."""
    others = [name for name in tree.inside("") if name != masks]
    if not set(others) & set(DOMAINS):
        return "neither clean/ nor defect/"
    strange = next((name for name in others if name not in DOMAINS), None)
    if strange is not None:
        return f"folder '{strange}' is none of clean, defect, masks"
    if tree.images():
        return f"images beside clean/ and defect/ ('{tree.images()[0]}'); move them into one of these folders"
    return deeper(tree, others)


def why_not_classes(tree: Tree, masks: str | None, *, asked: bool = False) -> str | None:
    """What keeps a folder from being folders of images, one a class."""
    others = [name for name in tree.inside("") if name != masks]
    if not others:
        return "no folders of images"
    if tree.images():
        return f"images ('{tree.images()[0]}') beside the folders; move them into one of these folders"
    if not asked and set(others) <= set(DOMAINS):
        return "clean/ and defect/ are no more than domains"
    split = next((name for name in others if name.casefold() in SPLITS), None)
    if not asked and split is not None:
        return f"folder '{split}' is hardly a class, and none of clean, defect, masks"
    return deeper(tree, others)


def deeper(tree: Tree, folders: Sequence[str]) -> str | None:
    """What keeps folders from holding images alone: one with folders of images in it."""
    deep = next((f"{name}/{tree.inside(name)[0]}" for name in folders if tree.inside(name)), None)
    return None if deep is None else f"folder '{deep}' lies one deeper"


def flat(tree: Tree, params: LoadParams) -> Scene:
    """Images in the order of their names; `clean` and `defect` patterns and masks give the domain."""
    masks = mask_folder(tree, params)
    folder = "" if tree.images() else "images"
    if tree.single and not tree.images():
        raise DataError(f"{params.path.path}: is no image that is read here, by its suffix; save it as PNG, TIFF or NPY")
    named = unique(tree, tree.images(folder))
    return with_masks("flat", tree, named, {key: domain_of(name, params) for key, name in named.items()}, masks, params)


def domains(tree: Tree, params: LoadParams) -> Scene:
    """clean/ and defect/ say the domain."""
    masks = mask_folder(tree, params)
    named = unique(tree, [image for name in DOMAINS for image in tree.images(name)])
    return with_masks("domains", tree, named, {key: domain_of(name, params) for key, name in named.items()}, masks, params)


def classes(tree: Tree, params: LoadParams) -> Scene:
    """The folder of an image is its class; the folder `clean_class`, or clean/, holds the clean ones."""
    masks = mask_folder(tree, params)
    folders = [name for name in tree.inside("") if masks is None or name != masks.inside]
    named = unique(tree, [image for folder in folders for image in tree.images(folder)])
    clean = clean_folder(tree, folders, params)
    labels = {key: CLEAN if name.partition("/")[0] == clean else name.partition("/")[0] for key, name in named.items()}
    domain = {key: None if clean is None else int(label != CLEAN) for key, label in labels.items()}
    scene = with_masks("classes", tree, named, domain, masks, params, labels)
    known = CLEAN if clean is not None or masks is not None else None
    names = ordered(list(labels.values()), known)
    guess = next((name for name in folders if name.casefold() in CLEAN_WORDS), None)
    note = f"no class is known to be clean; if '{guess}' is, say clean_class: {guess}" if known is None and guess else ""
    return replace(scene, classes=names, clean=known, notes=(*scene.notes, *([note] if note else [])))


def clean_folder(tree: Tree, folders: Sequence[str], params: LoadParams) -> str | None:
    """The folder of the clean class: as told, else clean/. Raises DataError where it is not there."""
    if params.clean_class is None:
        return CLEAN if CLEAN in folders else None
    if params.clean_class not in folders:
        raise DataError(f"{tree.root}: clean_class '{params.clean_class}' is none of its folders: {', '.join(folders)}")
    if CLEAN in folders and params.clean_class != CLEAN:
        raise DataError(f"{tree.root}: clean_class is '{params.clean_class}' but there is a folder clean/ too; rename one")
    return params.clean_class


def unique(tree: Tree, names: Sequence[str]) -> dict[str, str]:
    """Name without suffix in one form to name. Raises DataError where two files are so called, or none is there."""
    named: dict[str, str] = {}
    for name in names:
        key = stem(name)
        if key in named:
            raise DataError(f"{tree.root}: '{named[key]}' and '{name}' are two files of one name; remove or rename one")
        named[key] = name
    return named


def matches(name: str, patterns: Sequence[str]) -> bool:
    """Whether a name, or its last part, fits a glob pattern; brackets also stand for themselves, as names hold them."""
    name = normalize("NFC", name)
    forms = [form for p in patterns for form in (normalize("NFC", p), normalize("NFC", p).replace("[", "[[]"))]
    return any(fnmatchcase(candidate, form) for form in forms for candidate in (name, name.rpartition("/")[2]))


def domain_of(name: str, params: LoadParams) -> int | None:
    """0 clean, 1 defect or None, by the folder and the patterns. Raises DataError where they contradict each other."""
    folder, slash, _ = name.partition("/")
    votes = {DOMAINS[folder]} if slash and folder in DOMAINS else set()
    votes |= ({0} if matches(name, params.clean) else set()) | ({1} if matches(name, params.defect) else set())
    if len(votes) > 1:
        raise DataError(f"'{name}' is both clean and defect; check its folder and the patterns `clean` and `defect`")
    return votes.pop() if votes else None


def with_masks(
    layout: str,
    tree: Tree,
    named: dict[str, str],
    domain: dict[str, int | None],
    masks: MaskFolder | None,
    params: LoadParams,
    labels: dict[str, str] | None = None,
) -> Scene:
    """The scene of named images with the masks that fit them."""
    used = set(named.values())
    found = {} if masks is None else masks.paired(domain, labels or {}, params.unlisted)
    values, listed = classes_file(tree, params)
    entries = []
    for key, name in sorted(named.items(), key=lambda item: item[1]):
        if masks is not None and key not in found and domain[key] != 0:
            if params.unlisted == "skip":
                continue
            entries.append(Entry(name, tree.path(name), 0 if params.unlisted == "clean" else None, (labels or {}).get(key)))
            continue
        entries.append(Entry(name, tree.path(name), domain[key], (labels or {}).get(key), found.get(key, ())))
    if masks is not None and masks.classes and values:
        raise DataError(f"{masks.tree.root}: its folders name classes, and classes names values; leave out `classes` or classes.txt")
    drawn = [] if masks is None else masks.classes
    clean = CLEAN if drawn or values else None
    names = ordered(drawn, CLEAN) if drawn else tuple([CLEAN, *(name for _, name in sorted(values.items()))] if values else ())
    inside = set() if masks is None or masks.inside is None else {f"{masks.inside}/{name}" for name in masks.names}
    return Scene(layout, entries, names, clean, values, used=frozenset(used | inside | listed))


def idle_patterns(root: Path, names: Sequence[str], params: LoadParams) -> None:
    """Raise DataError for a pattern `clean` or `defect` that matches no file."""
    for option, patterns in (("clean", params.clean), ("defect", params.defect)):
        idle = [p for p in patterns if not any(matches(name, (p,)) for name in names)]
        if idle:
            hint = f"set {option}=[] where clean/ and defect/ folders say it"
            raise DataError(f"{option} pattern '{idle[0]}' matches no file in {root}; {hint}")
