"""Maps of the dies of wafers: a pipeline after `wafer-patterns`, on a file that says which maps have a pattern."""

from __future__ import annotations

from statistics import median
from typing import Any

from fabloom.errors import UserError

from .draft import Draft, minutes
from .expecting import bank_seconds, core, denoiser_seconds, translation_seconds
from .parting import held_out
from .weak import BATCH, FEWEST, PIXELS, UNIT

SMALLEST, WHOLE = 16, 64
"""Dies a side of what is learned from; of larger maps dies are left out."""
STEPS = 1500
"""Of the training, as in `wafer-patterns`."""
CLEAN, MOST = 4000, 40_000
"""Maps without a pattern, and maps of all, above which `PER_CLASS` of each class are drawn: the rivals go through all of them."""
PER_CLASS = 2000
"""As many clean maps as the figures of icddm are of."""
ENTRIES = ["icddm", "density of fails", "memory-bank", "nearest clean image"]


def patterns(draft: Draft) -> Draft:
    """The whole draft. Raises UserError for a file that does not say which maps have a pattern, too few maps, and answers for images."""
    check(draft)
    given, size = draft.survey.given, sized(draft)
    clean, defect = drawn(draft)
    train, test = parts(draft)
    batch = max(4, min(BATCH, PIXELS // size**2))
    tell(draft, clean, defect, size, batch)
    model: dict[str, Any] = {"given": given, "steps": STEPS, **({"batch": batch} if batch != BATCH else {})}
    draft.add("model", "icddm.train", "channel 0 says which dies fail and is learned, channel 1 where dies are", {"images": train}, **model)
    both = {"images": test, "model": "model"}
    draft.add("found", "icddm.detect", "dies that would pass without a pattern", both, smooth=0.7, min_area=2)
    around = "the share of failing dies around each failing one: nothing is learned"
    draft.add("density", "score-maps.density", around, {"images": test}, given=given)
    draft.add("bank", "memory-bank.fit", "", {"images": train})
    draft.add("unlike", "memory-bank.segment", "", {"images": test, "model": "bank"})
    draft.add("nearest", "score-maps.difference", "", {"images": test, "clean": train})
    maps, beside = ["found", "density", "unlike", "nearest"], "beside the share of dies that fail, which is the mean brightness of a map"
    draft.add("ranks", "score-maps.rank", beside, {"images": test, "maps": maps}, entries=ENTRIES)
    return draft


def check(draft: Draft) -> None:
    """Raise UserError where the file or the answers do not do."""
    found, answers = draft.survey, draft.answers
    given = {"--structure": answers.structure, "--generator": answers.generator, "--tile": answers.tile}
    if named := [name for name, value in given.items() if value is not None]:
        raise UserError(f"{named[0]}: has no meaning for wafer maps; leave it out (--load size=N says how many dies a map has)")
    if answers.test == "same":
        raise UserError("--test same: a score on maps that were learned from says nothing here; give --test FILE, or leave it out")
    if found.unknown:
        raise UserError(
            f"nothing says of {found.unknown:,} of {found.images:,} maps whether they have a pattern: give a file whose labels do, "
            "'none' for those without one, or leave out --load labelled=false"
        )
    for count, what, cure in ((found.clean, "without a pattern", "labelled none"), (found.defect, "with a pattern", "labelled with one")):
        kept = count - (0 if answers.test or not count else held_out(count))
        if kept < FEWEST:
            told = f"of {count} maps {what} {kept} are left to learn from" if count else f"no map is {what}"
            raise UserError(f"{told}, and {FEWEST} are needed: add maps {cure}, or look at --load classes, per_class and split")
    if found.sources == 1 and not answers.test:
        raise UserError(
            "all maps are of one lot, which cannot be learned from and held out too: give --test FILE, or --load source=wafer, which parts "
            "wafers of one lot though they are alike"
        )


def tell(draft: Draft, clean: int, defect: int, size: int, batch: int) -> None:
    """Say how long it takes, and what it cannot do."""
    held, area = draft.test.images if draft.test else held_out(clean) + held_out(defect), size**2
    training = denoiser_seconds(STEPS * batch * area)
    rest = translation_seconds(held * area) + bank_seconds((held + clean) * area)
    draft.say(
        f"model: icddm, where dies are is given, {STEPS} steps of {batch} maps of {size} x {size} (about {minutes(training)}, and "
        f"{minutes(rest)} for all else, on {core()})"
    )
    draft.say(
        "limits: which dies a pattern made fail nobody checks; the report says how well scores tell wafers with a pattern from those "
        "without. On simulated wafers the density of fails, which learns nothing, did so as well, and where patterns are faint better: "
        "look at its row first. On published maps nothing was measured"
    )


def sized(draft: Draft) -> int:
    """Dies a side that maps are brought to. Raises UserError for a size that was asked for and that the network cannot halve."""
    params, sizes = draft.steps["images"]["params"], draft.survey.sizes
    asked, fit = params.get("size"), params.get("fit")
    longest = max(max(size) for size in sizes)
    if asked is not None:
        if asked % UNIT:
            raise UserError(f"--load size={asked}: give a multiple of {UNIT}, such as {up(asked)}, which the network halves")
        draft.say(f"size: maps of {asked} x {asked} dies, as asked")
        return int(asked)
    if fit == "pad" or (fit is None and len(sizes) == 1 and longest <= WHOLE):
        size = max(SMALLEST, up(longest))
        params |= {"size": size, "fit": "pad"}
        draft.say(f"size: every die as it is, in the middle of {size} x {size}")
        return size
    usual = median(max(size) for size, count in sizes.items() for _ in range(count))
    size = min(max(SMALLEST, up(int(usual))), WHOLE)
    params |= {"size": size, "fit": "nearest"}
    lost = (
        f"; of maps with more dies, up to {longest} a side, some are left out, and with them parts of thin scratches"
        if longest > size
        else ""
    )
    draft.say(f"size: maps are stretched to {size} x {size} by repeating dies{lost}. --load fit=pad keeps them as they are")
    return size


def up(side: int) -> int:
    """The next multiple of `UNIT`."""
    return -(-side // UNIT) * UNIT


def drawn(draft: Draft) -> tuple[int, int]:
    """(clean, defect) maps that are taken: all, or at most `PER_CLASS` of each class where they are many."""
    found, params = draft.survey, draft.steps["images"]["params"]
    if (found.clean <= CLEAN and found.images <= MOST) or {"per_class", "count"} & params.keys():
        return found.clean, found.defect
    params["per_class"] = PER_CLASS
    taken, clean = sum(min(count, PER_CLASS) for count in found.counts), min(found.clean, PER_CLASS)
    draft.say(f"maps: {PER_CLASS:,} of each class at most, {taken:,} of {found.images:,}, drawn by the seed; --load per_class=N for others")
    return clean, taken - clean


def parts(draft: Draft) -> tuple[str, str]:
    """The steps to learn from and to score on. Raises UserError for another file that does not say which maps have a pattern."""
    test, other = draft.answers.test, draft.test
    if test is None:
        lots = "no lot is in both, where the file tells lots"
        draft.say(f"score: on three of ten maps that nothing is learned from; {lots}")
        train = draft.add("train", "images.split", "seven of ten, with and without a pattern alike", {"images": "images"}, part="train")
        return train, draft.add("test", "images.split", f"the others: {lots}", {"images": "images"}, part="test")
    if other is not None and (other.given != draft.survey.given or other.unknown or not other.clean or not other.defect):
        raise UserError(f"--test {test}: give a file of labelled wafer maps, some of them without a pattern and some with one")
    draft.say(f"score: on the maps of {test}")
    params = {**draft.steps["images"]["params"], "path": test}
    return "images", draft.add("test", draft.survey.task, "maps that nothing is learned from", **params)
