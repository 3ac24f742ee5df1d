"""MVTec's layout: train/good, test/TYPE and ground_truth/TYPE, a mask an image (AD) or a folder of masks (LOCO, with validation/good)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from fabloom.errors import DataError

from .entries import CLEAN, Entry, Scene, ordered
from .folders import deeper, unique
from .tree import Tree, stem

if TYPE_CHECKING:
    from .params import LoadParams

LEARNT = ("train", "validation")
"""Folders of clean images to learn from; the second is LOCO's."""
TRUTH = "ground_truth"
VALUES = "defects_config.json"
"""LOCO's file that says what the values of its masks mean; the class of an image is its folder here, whatever the value."""


def why_not_mvtec(tree: Tree) -> str | None:
    """What keeps a folder from being train/good, test/TYPE and ground_truth/TYPE."""
    if tree.images() or tree.images("test"):
        return "images outside of train/good and test/TYPE"
    if "test" not in tree.inside("") and "train/good" not in tree.pictured:
        return "neither test/TYPE nor train/good"
    if not {"train/good", "test/good"} & set(tree.pictured) and not tree.inside(TRUTH):
        return "neither train/good nor test/good nor ground_truth/"
    odd = [name for name in tree.inside("") if name not in (*LEARNT, "test", TRUTH)]
    odd += [f"{place}/{name}" for place in LEARNT for name in tree.inside(place) if name != "good"]
    if odd:
        return f"folder '{odd[0]}' is none of train/good, test and ground_truth"
    return deeper(tree, [f"test/{name}" for name in tree.inside("test")])


def mvtec(tree: Tree, params: LoadParams) -> Scene:
    """Images of train, validation and test with their masks; good is clean, the other types are classes."""
    if params.split == "val":
        raise DataError(f"{tree.root}: layout mvtec knows split: train, which holds LOCO's validation, and test")
    folders = [f"test/{name}" for name in tree.inside("test")] if params.split != "train" else []
    learnt = [place for name in LEARNT if (place := f"{name}/good") in tree.pictured]
    named = unique(tree, [image for folder in (*(learnt if params.split != "test" else []), *folders) for image in tree.images(folder)])
    if not named:
        raise DataError(f"{tree.root}: no images of split: {params.split}; there are {', '.join(tree.inside(''))}")
    truth = masks_of(tree)
    good = params.clean_class or "good"
    entries, used = [], set()
    for name in sorted(named.values()):
        _, kind, last = name.split("/")
        label, key = CLEAN if kind == good else kind, f"{kind}/{stem(last)}"
        said = [one for one in (f"{key}_mask", key) if one in truth]
        if len(said) > 1:
            raise DataError(f"{tree.root}: '{name}' has two masks, '{truth[said[0]][0]}' and '{truth[said[1]][0]}'; remove one")
        if not said and label != CLEAN and truth and params.unlisted == "refuse":
            raise DataError(f"{tree.root}: '{name}' has no mask {TRUTH}/{key}_mask; add it, or say unlisted: skip")
        if not said and label != CLEAN and truth and params.unlisted == "skip":
            continue
        files = [file for one in said for file in truth[one]]
        used |= set(files)
        masks = tuple((label if label != CLEAN else None, tree.path(file)) for file in files)
        entries.append(Entry(name, tree.path(name), int(label != CLEAN), label, masks))
    every = {file for files in truth.values() for file in files}
    unused = sorted(every - used) if params.split != "train" and params.unlisted != "skip" else []
    if unused:
        raise DataError(f"{tree.root}: mask '{unused[0]}' has no image of its name; rename or remove it")
    names = ordered([entry.label or CLEAN for entry in entries], CLEAN)
    known = {name for folder in tree.pictured if folder.partition("/")[0] in (*LEARNT, "test") for name in tree.images(folder)}
    configured = {VALUES} if VALUES in tree.known else set()
    return Scene("mvtec", entries, names, CLEAN, used=frozenset(known | every | configured))


def masks_of(tree: Tree) -> dict[str, Sequence[str]]:
    """Mask files by TYPE/NAME: a file of that name, or the files of a folder of that name. Raises DataError where both are there."""
    found: dict[str, Sequence[str]] = {}
    for kind in tree.inside(TRUTH):
        for name in tree.images(f"{TRUTH}/{kind}"):
            key = stem(name).removeprefix(f"{TRUTH}/")
            if key in found:
                raise DataError(f"{tree.root}: '{found[key][0]}' and '{name}' are two files of one name; remove or rename one")
            found[key] = [name]
        for folder in tree.inside(f"{TRUTH}/{kind}"):
            place, key = f"{TRUTH}/{kind}/{folder}", f"{kind}/{stem(f'{folder}.png')}"
            if key in found:
                raise DataError(f"{tree.root}: masks both in '{found[key][0]}' and in the folder '{place}'; remove one")
            deep = tree.inside(place)
            if deep:
                raise DataError(f"{tree.root}: '{place}/{deep[0]}' lies too deep; the masks of an image lie right in its folder")
            found[key] = tree.images(place)
    return found
