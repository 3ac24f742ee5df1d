"""What is learned from and what is scored on: held-out files, a folder of other images, and the classes that both tell."""

from __future__ import annotations

from fabloom.errors import UserError
from fabloom.method import Survey

from .draft import Draft
from .generating import FEW as FEW_DEFECTS

VERDICT = 6
"""Held-out sources below which unet.evaluate gives no verdict."""


def parted(draft: Draft, own: str) -> tuple[str, str]:
    """The steps to learn from and to score on. Raises UserError where nothing can be held out."""
    found, answer = draft.survey, draft.answers.test
    if answer == "same":
        draft.say("score: on variations of the images that are learned from, so it describes these images and no others")
        own = classed(draft, own)
        return own, own
    if answer is not None:
        return elsewhere(draft, own, answer)
    sources = found.defect or found.images
    if sources < 2:
        raise UserError(
            "one image with a defect cannot be learned from and held out too: give --test FOLDER with other images, or --test same for "
            "a score that describes these images and no others"
        )
    held, what = held_out(sources), " with a defect" if found.defect else ""
    few = f"; fewer than {VERDICT} say little, and the report gives no verdict" if held < VERDICT else ""
    draft.say(f"score: on three of ten files that nothing is learned from ({held} of {sources}{what}){few}")
    own = classed(draft, own)
    train = draft.add("train", "images.split", "seven of ten files, clean and defect alike", {"images": own}, part="train")
    return train, draft.add("test", "images.split", "the others: no file, and no copy of one, is in both", {"images": own}, part="test")


def held_out(sources: int) -> int:
    """How many of so many files images.split holds out."""
    return max(1, round(0.3 * sources))


def elsewhere(draft: Draft, own: str, folder: str) -> tuple[str, str]:
    """The steps to learn from and to score on, of which the second reads another folder. Raises UserError where that does not fit."""
    found, other = draft.survey, draft.test
    if other is not None:
        check_other(found, other, own == "images", folder)
    read = {**{name: value for name, value in found.params.items() if name != "masks"}, "path": folder}
    test = draft.add("others", found.task, "images that nothing is learned from", **read)
    if own != "images":
        reference = {} if found.references else {"reference": "images"}
        test = draft.add(
            "others_labelled", "reference-difference.label", "", {"images": test, **reference}, **draft.steps[own].get("params", {})
        )
    draft.say(f"score: on the images of {folder}")
    train = classed(draft, own)
    if train == own or other is None:
        return train, test
    known, told = defects_of(found), defects_of(other)
    if not told:
        draft.say(f"classes of {folder}: none are told, so the report counts its defects without them")
        return train, test
    if strange := [name for name in told if name not in known]:
        draft.say(f"classes of {folder}: no image to learn from is of class {', '.join(strange)}")
    return train, draft.add("others_classed", "images.class_masks", "the report counts the defects of each class", {"images": test})


def check_other(found: Survey, other: Survey, drawn: bool, folder: str) -> None:
    """Raise UserError where images to score on lack what those to learn from have: `drawn` masks, a reference each, size or colours."""
    if drawn and other.masks < other.images:
        lacks = f"{other.images - other.masks} of {other.images} images have no mask and nothing says they are clean: draw them too"
    elif not drawn and found.references and other.references < other.images:
        lacks = f"{other.images - other.references} of {other.images} images have no reference of their own: add them"
    elif not drawn and not found.references and set(other.sizes) != set(found.sizes):
        sizes = ["/".join(f"{height} x {width}" for height, width in one.sizes) for one in (other, found)]
        lacks = f"images are of {sizes[0]}, those to learn from of {sizes[1]}; labels by difference need one size: bring them to it"
    elif other.channels != found.channels:
        lacks = "one of the two folders is grey and the other is not: --load colour=grey reads both alike"
    else:
        return
    raise UserError(f"--test {folder}: {lacks}")


def defects_of(found: Survey) -> tuple[str, ...]:
    """Classes that folders tell, the clean one left out."""
    return tuple(found.classes[1:] if found.clean else found.classes)


def classed(draft: Draft, own: str) -> str:
    """The step whose masks tell the classes that folders tell, which labels by difference do not; `own` where they tell fewer than two."""
    found = draft.survey
    names = defects_of(found)
    if own != "labelled" or len(names) < 2:
        return own
    few = (found.defect or found.images) <= FEW_DEFECTS
    if few or draft.answers.generator not in (None, "none"):
        why = "there are too few images with a defect to tell them apart" if few else "generated images are of no class"
        draft.say(f"classes: {', '.join(names)} are learned as one, since {why}")
        return own
    draft.say(f"classes: {', '.join(names)}, every defect that of its image; the network tells them apart")
    return draft.add("classed", "images.class_masks", "each defect gets the class of its image's folder", {"images": own})
