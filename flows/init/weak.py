"""Images that cannot be labelled by difference, of which is known which have a defect: a pipeline after `weak-labels`.

Its method, icddm, learns clean and defect images of one size. Larger ones are cut into squares, each of which counts as its whole file
does, clean or defect, though the defect lies in another square.
"""

from __future__ import annotations

from math import gcd

from fabloom.errors import UserError

from .draft import Draft, minutes
from .expecting import bank_seconds, core, denoiser_seconds, translation_seconds
from .parting import held_out, parted

UNIT = 8
"""Sides divide by it: two pixels each way become channels, and the network halves them twice."""
LEAST, LARGEST = 16, 128
"""Sides in pixels of what is learned from."""
SQUARES = 16
"""Of an image at most, unless the user says their side: as many as were tried (benchmarks/RESULTS.md)."""
FEWEST = 100
"""Images of each kind to learn from. Of 30 of each nothing was learned of simulated lines, of 100 something (benchmarks/RESULTS.md)."""
MEASURED = 2000
"""Images of each kind that the figures of icddm are of."""
STEPS, BATCH, PIXELS = 2500, 32, 1 << 17
"""Of the training: steps and images a step as icddm has them, fewer images where they are more pixels than these."""


def unaligned(draft: Draft) -> str:
    """Why images of which all is known but where defects lie cannot be labelled by difference; '' where they can, or more is missing."""
    found, answer = draft.survey, draft.answers.structure
    if found.masks or found.references or found.unknown or not found.clean or not found.defect or answer == "registered":
        return ""
    if answer == "free":
        return "the images are not registered to each other (--structure free)"
    structure = found.structure
    if structure is None or structure.likeness is None:
        return "nothing shows that the images are registered to each other"
    if structure.registered:
        return ""
    if structure.alike:
        return f"the images are shifted by {structure.shift:.0f} px (median)"
    return f"the images do not show the same place (correlation {structure.likeness:.2f})"


def weak(draft: Draft, why: str) -> Draft:
    """The whole draft. Raises UserError for images that are too few, too small or too large, and for answers that ask for labels."""
    found, answers = draft.survey, draft.answers
    if answers.test == "same":
        raise UserError(f"--test same: {why}, and a score on images that were learned from says nothing here: give --test FOLDER")
    if answers.generator not in (None, "none"):
        raise UserError(f"--generator {answers.generator}: {why}, so generated ones could not be labelled by difference; leave it out")
    draft.say(
        f"truth: no masks. {why[0].upper()}{why[1:]}, so labels by difference would be wrong: which images have a defect is all that is "
        "learned from, as in the pipeline weak-labels. Better where it can be done: --masks FOLDER, or images that are aligned"
    )
    if len(found.classes) > 2:
        draft.say(f"classes: {', '.join(found.classes[1:])} are learned as one, a defect or none")
    side, squares = squared(draft, why)
    learned = to_learn_from(draft, why)
    train, test = parted(draft, "images") if answers.test is None else others(draft, answers.test)
    batch = max(4, min(BATCH, PIXELS // (side[0] * side[1])))
    structure = found.structure
    may = {} if structure is None else {"flip_x": structure.mirrors_x, "flip_y": structure.mirrors_y}
    params = {**({"batch": batch} if batch != BATCH else {}), **{name: True for name, looks_the_same in may.items() if looks_the_same}}
    tell(draft, learned, squares, side, batch)
    draft.add("model", "icddm.train", "what clean and defect images look like; no mask is given", {"images": train}, **params)
    draft.add("found", "icddm.detect", "where an image differs from what it would be without a defect", {"images": test, "model": "model"})
    draft.add("bank", "memory-bank.fit", "the rival that needs no defect image: a memory of clean patches", {"images": train})
    draft.add("unlike", "memory-bank.segment", "", {"images": test, "model": "bank"})
    draft.add("report", "score-maps.rank", "", {"images": test, "maps": ["found", "unlike"]}, entries=["icddm", "memory-bank"])
    draft.add("pairs", "icddm.pair", "each image with its twin and a mask, for a segmenter", {"images": train, "model": "model"})
    return draft


def tell(draft: Draft, learned: tuple[int, int], squares: int, side: tuple[int, int], batch: int) -> None:
    """Say how long it takes, and what it cannot do."""
    found, area = draft.survey, side[0] * side[1]
    scored = draft.test.images if draft.test else found.images - sum(learned)
    training = denoiser_seconds(STEPS * batch * area)
    rest = translation_seconds((scored + sum(learned)) * squares * area) + bank_seconds((scored + learned[0]) * squares * area)
    draft.say(
        f"model: icddm, {STEPS} steps of {batch} images of {side[0]} x {side[1]} (about {minutes(training)}, and {minutes(rest)} for all "
        f"else, on {core()}). Then fabloom predict model FOLDER -o findings takes images of that size"
    )
    fewer = (
        " Expect less of fewer: with 100 of each the memory of clean patches was ahead, with 500 icddm" if min(learned) < MEASURED else ""
    )
    draft.say(
        "limits: where defects lie nobody checks; the report says how well maps tell the two kinds of image apart, and whether their light "
        f"alone does. {learned[0]} clean and {learned[1]} defect images are learned from; figures are of {MEASURED:,} of each, simulated, "
        f"32 x 32.{fewer}"
    )


def to_learn_from(draft: Draft, why: str) -> tuple[int, int]:
    """How many clean and defect images are left to learn from. Raises UserError for fewer than `FEWEST` of either kind."""
    found, elsewhere = draft.survey, draft.answers.test is not None
    clean, defect = (count if elsewhere else count - held_out(count) for count in (found.clean, found.defect))
    if min(clean, defect) < FEWEST:
        raise UserError(
            f"{why}, so labels by difference would be wrong: align them, or give --masks FOLDER; --structure registered says that they are "
            f"aligned nevertheless. To learn from which images have a defect takes {FEWEST} of each kind, and there are {clean} clean and "
            f"{defect} with a defect{'' if elsewhere else ', three of ten held out'}: add some, or learn from the clean ones alone "
            "(memory-bank.fit and segment)"
        )
    return clean, defect


def squared(draft: Draft, why: str) -> tuple[tuple[int, int], int]:
    """(height, width) of what is learned from, and how many of it most images have. Raises UserError for sizes that do not fit."""
    sizes = draft.survey.sizes
    smallest, (height, width) = min(min(size) for size in sizes), draft.side
    asked = draft.answers.tile if draft.answers.tile is not None else draft.survey.params.get("tile")
    whole = len(sizes) == 1 and gcd(height, width) % UNIT == 0
    if smallest < LEAST:
        raise UserError(
            f"{why}, and to learn from which have a defect takes {LEAST} px a side, where one has {smallest}: give larger images"
        )
    if asked == 0 and not whole:
        raise UserError(f"--tile 0: whole images are learned from where all are of one size whose sides divide by {UNIT}; leave it out")
    if asked and (asked % UNIT or not LEAST <= asked <= smallest):
        raise UserError(f"--tile {asked}: give a multiple of {UNIT} from {LEAST} to {smallest}, the smallest side, or leave it out")
    if asked == 0 or (asked is None and whole and max(height, width) <= LARGEST):
        draft.say(f"crops: none, images of {height} x {width} are learned from whole")
        return (height, width), 1
    tile = asked or square(height, width, smallest)
    most = max((high // tile) * (wide // tile) for high, wide in sizes)
    if most > SQUARES and not asked:
        raise UserError(
            f"{why}, and to learn from which have a defect they are too large: of {most} squares of {tile} px few would show the defect of "
            f"their image (up to {SQUARES} were tried). Cut parts of up to {LARGEST} px out and sort them into clean/ and defect/, "
            "or give --masks FOLDER"
        )
    left = 1 - (height // tile) * (width // tile) * tile**2 / (height * width)
    draft.steps["images"]["params"]["tile"] = tile
    draft.comments["images"] = "squares: each counts as its image does, also where the defect lies in another one"
    lost = f"; the last {height % tile} rows and {width % tile} columns are in none ({left:.0%})" if left else ""
    several = f", up to {most} an image. Each counts as its image does, also where the defect lies in another" if most > 1 else ""
    draft.say(f"crops: squares of {tile} px{several}{lost}")
    return (tile, tile), (height // tile) * (width // tile)


def square(height: int, width: int, smallest: int) -> int:
    """The side of the squares that cover most of an image, the largest of those that cover as much; half of the largest at least."""
    largest = min(smallest, LARGEST)
    sides = range(max(LEAST, -(-largest // (2 * UNIT)) * UNIT), largest + 1, UNIT)
    return max(sides, key=lambda side: ((height // side) * (width // side) * side**2, side))


def others(draft: Draft, folder: str) -> tuple[str, str]:
    """The steps to learn from and to score on, of which the second reads another folder. Raises UserError where that does not fit."""
    found, other, params = draft.survey, draft.test, draft.steps["images"]["params"]
    if other is not None:
        tile = params.get("tile")
        if other.unknown or not other.clean or not other.defect:
            lacks = "both clean images and ones with a defect are needed, and nothing else; sort them as those to learn from are"
        elif other.channels != found.channels:
            lacks = "one of the two folders is grey and the other is not: --load colour=grey reads both alike"
        elif min(min(size) for size in other.sizes) < tile if tile else set(other.sizes) != set(found.sizes):
            lacks = f"its images must be of {f'{tile} px a side at least' if tile else 'the size of those to learn from'}: bring them to it"
        else:
            lacks = ""
        if lacks:
            raise UserError(f"--test {folder}: {lacks}")
    draft.say(f"score: on the images of {folder}")
    return "images", draft.add("others", found.task, "images that nothing is learned from", **{**params, "path": folder})
