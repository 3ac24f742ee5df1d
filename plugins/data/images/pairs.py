"""Pairs: a test image and a reference of the same place, found by the pattern of their names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING
from unicodedata import normalize

from fabloom.errors import DataError

from .annotations.boxlist import boxes
from .entries import CLEAN, UNNAMED, Scene
from .folders import domain_of, with_masks
from .maskfiles import mask_folder
from .tree import Tree, is_image, stem

if TYPE_CHECKING:
    from .params import LoadParams

WORDS = "temp|template|templates|ref|refs|reference|references|golden|gold"
"""What references are called; a pair is only proposed where the names say such a word."""
BEHIND = re.compile(rf"^(?P<name>.*?)(?P<affix>[_\-. ](?:{WORDS}))$", re.IGNORECASE)
BEFORE = re.compile(rf"^(?P<affix>(?:{WORDS})[_\-. ])(?P<name>.*)$", re.IGNORECASE)
HOLE = "{name}"


def expression(pattern: str) -> re.Pattern[str]:
    """A pattern with one `{name}` as a regular expression; without a suffix it stands for any. All else stands for itself."""
    before, _, behind = normalize("NFC", pattern).partition(HOLE)
    suffix = "" if is_image(pattern) else r"\.[^./]+"
    return re.compile(f"{re.escape(before)}(?P<name>.+){re.escape(behind)}{suffix}")


def propose(tree: Tree) -> dict[str, str] | None:
    """Patterns `test` and `reference` where the names of all images say them: a reference's word, and everything else equal."""
    folders = tree.inside("")
    if tree.images():
        return None if folders else _proposed(tree.images())
    called = [name for name in folders if re.fullmatch(WORDS, name, re.IGNORECASE)]
    if len(folders) != 2 or len(called) != 1 or any(tree.inside(name) for name in folders):
        return None
    other = next(name for name in folders if name not in called)
    names = {folder: sorted(stem(name).partition("/")[2] for name in tree.images(folder)) for folder in folders}
    return {"test": f"{other}/{HOLE}", "reference": f"{called[0]}/{HOLE}"} if names[other] == names[called[0]] else None


def _proposed(images: list[str]) -> dict[str, str] | None:
    stems = {stem(name): name for name in images}
    for form in (BEHIND, BEFORE):
        references = {found["name"]: found["affix"] for found in map(form.match, stems) if found and found["name"]}
        affixes = set(references.values())
        if len(affixes) != 1 or 2 * len(references) != len(stems):
            continue
        affix, behind = affixes.pop(), form is BEHIND
        tests = [s for s in stems if not (s.endswith(affix) if behind else s.startswith(affix))]
        others = {
            s[len(name) :] if behind else s[: -len(name)]
            for name in references
            for s in tests
            if (s.startswith(name) if behind else s.endswith(name))
        }
        found = [one for one in others if all((name + one if behind else one + name) in stems for name in references)]
        if len(found) == 1:
            return {
                key: f"{HOLE}{word}{_suffix(group)}" if behind else f"{word}{HOLE}{_suffix(group)}"
                for key, word, group in (("test", found[0], tests), ("reference", affix, sorted(stems.keys() - set(tests))))
                for group in [[stems[s] for s in group]]
            }
    return None


def _suffix(names: list[str]) -> str:
    suffixes = Counter(name[name.rindex(".") :] for name in names)
    return next(iter(suffixes)) if len(suffixes) == 1 else ""


def pairs(tree: Tree, params: LoadParams) -> Scene:
    """Every test image with its reference. Raises DataError for patterns that match nothing and images without a partner."""
    patterns = {"test": params.test, "reference": params.reference}
    if params.test is None or params.reference is None:
        patterns = dict(propose(tree) or patterns)
    if patterns["test"] is None or patterns["reference"] is None:
        raise DataError(
            f"{tree.root}: layout pairs wants the patterns of the names, e.g. test: '{{name}}_test.jpg', reference: '{{name}}_temp.jpg'"
        )
    masks = mask_folder(tree, params)
    if masks is not None and params.box_lists is not None:
        raise DataError(f"{tree.root}: has masks, and box_lists names a second truth; leave one of them out")
    places = [folder for folder in tree.pictured if masks is None or masks.inside is None or folder.partition("/")[0] != masks.inside]
    found = matched(tree, {key: str(pattern) for key, pattern in patterns.items()}, places)
    named = dict(found["test"])
    by_stem = {stem(image): image for image in named.values()}
    if masks is not None and {stem(name).rpartition("/")[2] for name in masks.names} & {key.rpartition("/")[2] for key in by_stem}:
        named = by_stem  # masks carry the whole names of the images, not what the pair has in common
    domain = {key: domain_of(image, params) for key, image in named.items()}
    made = with_masks("pairs", tree, named, domain, masks, params)
    partner = {image: tree.path(found["reference"][name]) for name, image in found["test"].items()}
    entries = [replace(entry, reference=partner[entry.name]) for entry in made.entries]
    made = replace(made, entries=entries, used=made.used | set(found["reference"].values()))
    if params.box_lists is None:
        return made
    lists = {image: params.box_lists.replace(HOLE, name) for name, image in found["test"].items()}
    return boxed(tree, made, lists)


def matched(tree: Tree, patterns: Mapping[str, str], places: Iterable[str]) -> dict[str, dict[str, str]]:
    """Images by what stands for {name}, of each pattern. Raises DataError for a pattern without images and an image without a partner."""
    found: dict[str, dict[str, str]] = {}
    for key, pattern in patterns.items():
        said = expression(pattern)
        found[key] = {}
        for image in (image for folder in places for image in tree.images(folder)):
            if match := said.fullmatch(normalize("NFC", image)):
                if match["name"] in found[key]:
                    raise DataError(f"{tree.root}: '{found[key][match['name']]}' and '{image}' both match {key}: '{pattern}' by one name")
                found[key][match["name"]] = image
        if not found[key]:
            raise DataError(f"{tree.root}: {key}: '{pattern}' matches no image; it is the name relative to the folder, with one {HOLE}")
    twice = sorted(set(found["test"].values()) & set(found["reference"].values()))
    if twice:
        raise DataError(f"{tree.root}: '{twice[0]}' matches both test and reference; narrow the patterns")
    for one, other in (("test", "reference"), ("reference", "test")):
        lonely = sorted(found[one].keys() - found[other].keys())
        if lonely:
            raise DataError(f"{tree.root}: '{found[one][lonely[0]]}' has no {other} '{patterns[other].replace(HOLE, lonely[0])}'")
    return found


def boxed(tree: Tree, made: Scene, lists: Mapping[str, str]) -> Scene:
    """The images with the boxes of their lists drawn, all of one class."""
    entries = [replace(entry, shapes=boxes(tree, lists[entry.name])) for entry in made.entries]
    names = tuple(sorted(lists[entry.name] for entry in entries))
    return replace(made, entries=entries, classes=(CLEAN, UNNAMED), clean=CLEAN, annotations=names, used=made.used | frozenset(names))
