"""What to do with a folder: whose truth, which part is held out, crops, changes to training images, a generator or none, the network.

Images that no rule labels go to `weak`, wafer maps to `patterns`.

What is not clear is refused with the option that decides; nothing is guessed.
"""

from __future__ import annotations

import math
from typing import Any

from fabloom.errors import UserError
from fabloom.method import Survey
from fabloom.registry import Registry

from .draft import LARGEST_TEST, Answers, Draft, minutes
from .expecting import core, segmenter_seconds
from .generating import generate
from .parting import parted
from .patterns import patterns
from .weak import unaligned, weak

WHOLE = 256
"""Sides in pixels of images that are learned from whole."""
TILE = 128
FEW = 100
"""Images to learn from that are varied beforehand where the structure says how."""
SPOT = 1.5
"""A defect is so many times larger than the largest place in which clean images differ."""
SMALL = 6
"""Pixels of such a place below which the rule that labels leaves it out anyway."""
HIDDEN = 0.3
"""Largest share of what differs that grey may hide."""
STEPS = 600
PIXELS = 1 << 17
"""Of a training batch."""


def choose(survey: Survey, answers: Answers, registry: Registry, held_out: Survey | None = None) -> Draft:
    """A whole draft; `held_out` is what a folder of images to score on holds.

    Raises UserError for what only the user can decide, naming the option.
    """
    draft = Draft(survey, answers, held_out)
    draft.add("images", survey.task, "", **survey.params)
    if survey.given:
        return patterns(draft)
    if why := unaligned(draft):
        return weak(draft, why)
    own = truth(draft)
    train, test = parted(draft, own)
    train, test, side = cropped(draft, train, test)
    flips, shift = changes(draft, side)
    varied = variations(draft, train, flips, shift)
    test = "test" if answers.test == "same" else test
    batch = max(4, min(32, PIXELS // (side[0] * side[1])))
    crop = {"crop": side[0]} if len(survey.sizes) == 1 and side != draft.side else {}
    network: dict[str, Any] = {"steps": STEPS, "batch": batch, **crop, "augment": {**flips, "shift": max(2, min(side) // 16)}}
    learned = generate(draft, registry, train, varied)
    took = f"about {minutes(segmenter_seconds(STEPS * batch * side[0] * side[1]))} on {core()}"
    if learned is not None:
        draft.add(
            "baseline",
            "unet.train",
            "what the generated images are held against: the same network without them",
            {"images": varied},
            **network,
        )
    comment = f"{took}; repeats: 3 trains three networks, which intervals then account for"
    draft.add("segmenter", "unet.train", comment, {"images": learned or varied}, **network)
    draft.say(f"network: U-Net, preset small, {STEPS} steps of {batch} images of {side[0]} x {side[1]} ({took})")
    inputs = {"images": test, "model": "segmenter", **({"baseline": "baseline"} if learned is not None else {})}
    height, width = draft.side
    scored = min(height, LARGEST_TEST // 2) * min(width, LARGEST_TEST // 2) if max(height, width) > LARGEST_TEST else height * width
    draft.add(
        "report", "unet.evaluate", "beside it in the table: finding nothing at all", inputs, batch=max(1, min(256, 1_000_000 // scored))
    )
    return draft


def truth(draft: Draft) -> str:
    """The step that gives images with masks: the loaded ones where they have their own, else labels by difference. Raises UserError."""
    found = draft.survey
    if found.masks:
        missing = found.images - found.masks
        if missing > 0:
            raise UserError(
                f"{missing} of {found.images} images have no mask and nothing says they are clean: add masks, or name them with --clean"
            )
        if not found.defect:
            raise UserError("every mask is empty: there is no defect to learn from. Add images with defects")
        draft.say("truth: your own masks; nothing is labelled anew")
        return "images"
    if found.hidden > HIDDEN:
        raise UserError(
            f"{found.hidden:.0%} of what differs between the images does so in colour alone, and labels by difference see the mean of the "
            "colours: give --masks FOLDER, or images in which defects are lighter or darker"
        )
    if found.references:
        if found.references < found.images:
            raise UserError(
                f"{found.images - found.references} of {found.images} images have no reference of their own: add them, or give --masks"
            )
        check_alike(draft)
        draft.say("truth: where an image differs from its own reference. The score says how well the network repeats this rule")
        comment = "masks: where an image differs from its own reference; look at some of them in the report"
        return draft.add("labelled", "reference-difference.label", comment, {"images": "images"}, **wandering(draft))
    if not found.clean and not found.defect:
        raise UserError(
            f"nothing says which of the {found.images} images are clean: give --masks FOLDER, --clean PATTERN and --defect PATTERN, "
            "or put them into clean/ and defect/"
        )
    if found.unknown:
        raise UserError(
            f"of {found.unknown} images nothing says whether they are clean: name them with --clean PATTERN or --defect PATTERN"
        )
    if not found.defect:
        raise UserError(f"all {found.images} images are clean: there is no defect to learn from. Add images with defects")
    if not found.clean:
        raise UserError(
            f"all {found.images} images have a defect and none has a mask: give --masks FOLDER, or clean images of the same place"
        )
    rule: dict[str, Any] = {"min_area": math.ceil(SPOT * found.spots), "min_circularity": 0} if found.spots >= SMALL else {}
    larger = f", in more than {rule['min_area']} px, since clean ones differ in up to {found.spots}" if rule else ""
    draft.say(
        f"truth: where an image differs from the median of the clean ones{larger}. The score says how well the network repeats this rule"
    )
    comment = "masks: where an image differs from the median of the clean ones; look at some of them in the report"
    return draft.add("labelled", "reference-difference.label", comment, {"images": "images", "reference": "images"}, **rule)


def check_alike(draft: Draft) -> None:
    """Raise UserError where images do not show what their references do. Labelling undoes shifts."""
    structure = draft.survey.structure
    if draft.answers.structure == "registered" or structure is None or structure.alike:
        return
    raise UserError(
        f"the images do not show what their references do (correlation {structure.likeness or 0:.2f}), so labels by difference would be "
        "wrong: mend the pairs, or give --masks FOLDER; --structure registered says that they are right nevertheless"
    )


def wandering(draft: Draft) -> dict[str, Any]:
    """Parameters of labelling where edges lie elsewhere than in the references all over: three deviations reach as far as they do."""
    edge = draft.survey.structure.edge if draft.survey.structure is not None else 0
    return {"jitter": round(edge / 3, 2), "min_circularity": 0} if edge else {}


def cropped(draft: Draft, train: str, test: str) -> tuple[str, str, tuple[int, int]]:
    """The same steps with crops of large images, and the (height, width) that is learned from. Raises UserError for mixed sizes."""
    found, (height, width) = draft.survey, draft.side
    smallest = min(min(size) for size in found.sizes)
    tile = (
        draft.answers.tile
        if draft.answers.tile is not None
        else tile_size(found, smallest)
        if max(height, width) > WHOLE or len(found.sizes) > 1
        else 0
    )
    if tile > smallest:
        raise UserError(f"--tile {tile} does not fit into images of {smallest} px; give a smaller one")
    if len(found.sizes) > 1:
        if not found.masks or not tile:
            sizes = ", ".join(f"{h} x {w}" for h, w in list(found.sizes)[:4])
            raise UserError(
                f"the images are of {len(found.sizes)} sizes ({sizes}): bring them to one size, or give masks, with which they can be cut"
            )
        draft.steps["images"]["params"]["tile"] = tile
        draft.comments["images"] = "images of several sizes, cut into squares"
        draft.say(f"crops: squares of {tile} px, since the images are of {len(found.sizes)} sizes")
        return train, test, (tile, tile)
    if tile and draft.answers.test == "same":
        raise UserError(f"--test same is for images of at most {WHOLE} px that are learned from whole; give --test FOLDER")
    if not tile:
        draft.say(f"crops: none, images of {height} x {width} are learned from whole")
        return train, test, (height, width)
    draft.say(f"crops: windows of {tile} px to learn from, half of them on a defect; the network takes any size")
    if max(height, width) > LARGEST_TEST:
        size = min(LARGEST_TEST // 2, smallest)
        test = draft.add("test_squares", "images.tile", "squares to score on", {"images": test}, size=size)
    return train, test, (tile, tile)


def tile_size(found: Survey, smallest: int) -> int:
    """Twice the extent of defects and four periods fit into it; a multiple of 32 where the images are that large."""
    period = found.structure.period if found.structure else None
    wanted = max(TILE, 2 * (found.extent or 0), 4 * (period or 0))
    return min(-(-int(wanted) // 32) * 32, 512, smallest // 32 * 32 or smallest)


def changes(draft: Draft, side: tuple[int, int]) -> tuple[dict[str, bool], dict[str, Any]]:
    """(flips, shifts) under which the structure looks the same."""
    structure = draft.survey.structure
    if structure is None:
        draft.say("changes: none, since nothing is known of the structure")
        return {"flip_x": False, "flip_y": False}, {}
    flips = {"flip_x": structure.mirrors_x, "flip_y": structure.mirrors_y}
    names = [name for name, may in (("left-right", flips["flip_x"]), ("top-bottom", flips["flip_y"])) if may]
    kept = [name for name, may in (("left-right", flips["flip_x"]), ("top-bottom", flips["flip_y"])) if not may]
    text = f"flips {' and '.join(names)}" if names else "no flips"
    text += f" (mirrored {' or '.join(kept)} it looks otherwise)" if kept else ""
    steps: dict[str, Any] = {f"shift_{axis}_step": step for axis, step in (("x", structure.repeat_x), ("y", structure.repeat_y)) if step}
    shifts = "cyclic shifts by multiples of " + " and ".join(f"{step} px along {name[6]}" for name, step in steps.items())
    if structure.registered and len(structure.steps) == 2 and len(steps) < 2:
        found = [[round(pixels, 3) for pixels in step] for step in structure.steps]
        steps, shifts = {"shift_lattice": found}, f"shifts from site to site, by {found[0]} and {found[1]} px (down, right)"
    usable = bool(steps) and side == draft.side and draft.survey.images <= FEW
    draft.say(f"changes to training images: {text}{f', {shifts}' if usable else ''}, contrast and brightness")
    return flips, steps if usable else {}


def variations(draft: Draft, train: str, flips: dict[str, bool], shift: dict[str, Any]) -> str:
    """The step with more places for the defects, where the structure repeats; with `--test same` also the test set."""
    same = draft.answers.test == "same"
    if not shift and not same:
        return train
    comment = "the structure looks the same under these changes: more places for the defects"
    varied = draft.add("varied", "images.augment", comment, {"images": train}, count=256, **flips, **shift, noise=1.0)
    if same:
        draft.add(
            "test",
            "images.augment",
            "other variations of the same images",
            {"images": train},
            seed=1,
            count=50,
            **flips,
            **shift,
            noise=1.0,
        )
    return varied
