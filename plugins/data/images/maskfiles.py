"""Which mask file belongs to which image: by the same name, in one folder, in folders of domains or in folders of classes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fabloom.errors import DataError
from fabloom.regular import read_regular

from .entries import CLEAN
from .tree import Tree, stem

if TYPE_CHECKING:
    from .params import LoadParams

Masks = tuple[tuple[str | None, Path], ...]
"""Files of the masks of one image, each with the class that its folder names or None."""


@dataclass(frozen=True)
class MaskFolder:
    """The files of a folder of masks; `inside` is its name where it lies in the folder of the images."""

    tree: Tree
    inside: str | None
    names: tuple[str, ...]
    domains: bool

    @property
    def classes(self) -> list[str]:
        """The classes that its folders name."""
        return [] if self.domains else sorted({name.partition("/")[0] for name in self.names if "/" in name} - {CLEAN})

    def paired(self, domain: dict[str, int | None], labels: dict[str, str], unlisted: str) -> dict[str, Masks]:
        """Masks of each image, by its name without suffix or the last part of it.

        Raises DataError for a mask without an image, one that fits several, and an image without a mask that nobody called clean,
        unless `unlisted` says what such an image is.
        """
        by_stem: dict[str, str] = {}
        for name in self.names:
            if stem(name) in by_stem:
                raise DataError(f"{self.tree.root}: '{by_stem[stem(name)]}' and '{name}' are two files of one name; remove or rename one")
            by_stem[stem(name)] = name
        last = Counter(key.rpartition("/")[2] for key in domain)
        folders: list[str | None] = [None, *self.classes]
        paired: dict[str, Masks] = {}
        used: set[str] = set()
        for key, known in domain.items():
            short = key.rpartition("/")[2]
            own = labels.get(key)
            found = [(own if own != CLEAN else None, key)] if key in by_stem and key != short else []
            for label in folders if not found else ():
                candidate = short if label is None else f"{label}/{short}"
                if candidate in by_stem and last[short] > 1:
                    raise DataError(
                        f"mask '{candidate}' fits several images; put masks into folders called as those of the images, e.g. masks/defect"
                    )
                found += [(label, candidate)] if candidate in by_stem else []
            if found:
                paired[key] = tuple((label, self.tree.path(by_stem[name])) for label, name in found)
                used |= {name for _, name in found}
            elif known != 0 and unlisted == "refuse":
                raise DataError(
                    f"image '{key}' has no mask of its name; add one, or say that it is clean (clean/ or the `clean` pattern; "
                    "unlisted: clean or skip for all such images)"
                )
        unused = sorted(by_stem.keys() - used)
        if unused:
            raise DataError(f"mask '{by_stem[unused[0]]}' has no image of its name; rename or remove it")
        return paired


def mask_folder(tree: Tree, params: LoadParams) -> MaskFolder | None:
    """The folder that the parameter names, else masks/; None without one. Raises DataError for an empty one and folders within folders."""
    if params.masks is None and "masks" not in tree.folders:
        return None
    folder = params.masks.path if params.masks is not None else tree.path("masks")
    if not folder.is_dir():
        raise DataError(f"{folder}: the masks must be a folder")
    masks = Tree(folder)
    deep = next((name for name in masks.pictured if "/" in name), None)
    if deep is not None:
        raise DataError(f"{folder}: '{deep}' lies too deep; masks lie right in the folder or in folders of classes")
    names = tuple(name for place in masks.pictured for name in masks.images(place))
    if not names:
        raise DataError(f"{folder}: no masks in it; remove the folder or add a mask for every defect image")
    return MaskFolder(masks, inside_of(tree, folder), names, set(masks.inside("")) <= {"clean", "defect"})


def inside_of(tree: Tree, folder: Path) -> str | None:
    """The name of a folder relative to the tree's root, None where it lies elsewhere."""
    root, place = tree.root.resolve(), folder.resolve()
    return place.relative_to(root).as_posix() if place != root and place.is_relative_to(root) else None


def classes_file(tree: Tree, params: LoadParams) -> tuple[dict[int, str], set[str]]:
    """Names of the values of masks, by `classes`, else by a `classes.txt` of a line each from 0 on; and the file that says so."""
    if params.classes:
        return params.values(), set()
    if "classes.txt" not in tree.folders.get("", ()) or "masks" not in tree.folders:
        return {}, set()
    text = read_regular(tree.path("classes.txt"), 2**16).decode("utf-8", "replace")
    names = [line.strip() for line in text.splitlines() if line.strip()]
    if not 2 <= len(names) <= 254 or len(set(names)) < len(names):
        raise DataError(f"{tree.path('classes.txt')}: holds {len(names)} names; it names the values 0, 1, ... of the masks, each once")
    return dict(enumerate(names[1:], start=1)), {"classes.txt"}
