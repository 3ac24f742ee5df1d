"""Whether a one-shot generator joins, and its steps: it learns from one image with a defect, and its images are labelled by difference.

One whose images have exact masks learns from all images whose masks are drawn, and those need not be registered.
"""

from __future__ import annotations

from typing import Any

from fabloom.errors import UserError, did_you_mean
from fabloom.registry import Registry

from .draft import Draft, minutes
from .expecting import core, generator_seconds

TAG = "one-shot"
FIRST = "sinsemi"
FIRST_LARGE = "copy-paste"
"""Of more than `LARGE` pixels: SinSEMI makes defects there too, but a segmenter that learned from them outlined those of other frames worse
than one that did not (IoU 0.91 against 0.97), after half an hour; pasted ones cost a minute and no score (benchmarks/RESULTS.md)."""
EXACT = ("copy-paste", "inpaint")
"""Put drawn defects elsewhere, so that masks go along."""
FEW = 4
"""Defect images to learn from above which generated ones are not worth their time unasked."""
SMALLEST = 42
COUNT, COUNT_LARGE = 200, 50
"""Images that are generated, and how many of more than `LARGE` pixels, each of which takes seconds to minutes."""
LARGE = 256 * 256


def generate(draft: Draft, registry: Registry, train: str, varied: str) -> str | None:
    """Steps of a generator; the name of the last, its images beside the plain ones; None without. Raises UserError for an unfit one."""
    asked = draft.answers.generator
    if asked == "none":
        draft.say("generator: none, as asked")
        return None
    known = [name for name in sorted(registry.methods) if TAG in registry.methods[name].tags]
    if asked is not None and asked not in known:
        raise UserError(f"--generator {asked}: is no one-shot method.{did_you_mean(asked, known)} Known: {', '.join(known)}, or none")
    method = asked or first(draft)
    why = unfit(draft, registry, method)
    if why and asked is not None:
        raise UserError(f"--generator {asked}: {why}; leave it out")
    sources = draft.survey.defect or draft.survey.images
    if not why and asked is None and sources > FEW:
        why = (
            f"{sources} defect images of your own are there, more than generated ones have been seen to help; --generator {method} adds one"
        )
    if why:
        draft.say(f"generator: none, since {why}")
        return None
    return steps(draft, registry, method, train, varied)


def first(draft: Draft) -> str:
    """The method that is taken where none is asked for."""
    height, width = draft.side
    if not registered(draft) and exact(draft, FIRST_LARGE):
        return FIRST_LARGE
    return FIRST_LARGE if height * width > LARGE and not draft.survey.references else FIRST


def unfit(draft: Draft, registry: Registry, method: str) -> str:
    """Why a one-shot generator cannot learn from these images or its images could not be labelled; '' where it can."""
    found = draft.survey
    height, width = draft.side
    if f"{method}.train" not in registry.tasks or f"{method}.sample" not in registry.tasks:
        return f"{method} has no train and sample"
    fields = registry.tasks[f"{method}.train"].params.model_fields
    limit = fields.get("max_pixels")
    largest = limit.default if limit is not None and limit.default is not None else height * width
    if height * width > largest or min(height, width) < SMALLEST:
        return f"images of {height} x {width} are not of the {SMALLEST} px a side to {largest:,} pixels that {method} takes as they are"
    if found.references and "anchor" not in fields:
        return f"images of {method} follow no reference, so they could not be labelled by their difference to one"
    if not found.clean and not found.references:
        return "generated images are labelled by their difference to clean ones of the same place, and none is told to be clean"
    if registered(draft) or exact(draft, method):
        return ""
    also = f" ({' or '.join(EXACT)} would bring masks along)" * exact(draft, EXACT[0])
    return f"the images are not registered to each other, so generated ones could not be labelled by difference{also}"


def registered(draft: Draft) -> bool:
    """Whether all images show the same at the same pixels."""
    structure = draft.survey.structure
    return draft.answers.structure == "registered" or (structure is not None and structure.registered)


def exact(draft: Draft, method: str) -> bool:
    """Whether a method puts drawn defects on clean images of the same structure, wherever that lies."""
    found, structure = draft.survey, draft.survey.structure
    alike = structure is not None and structure.alike
    return method in EXACT and alike and bool(found.masks and found.clean and found.defect) and not found.references


def pasted(draft: Draft, method: str, train: str, varied: str) -> str:
    """The drawn defects of all images elsewhere, with their masks, joined with the plain ones."""
    height, width = draft.side
    count = COUNT if height * width <= LARGE else COUNT_LARGE
    draft.say(f"generator: {method} of the drawn defects, {count} generated images beside the plain ones, which have their masks")
    draft.add("generator", f"{method}.train", "each defect against a clean image, wherever the structure lies", {"images": train})
    draft.add("synthetic", f"{method}.sample", "", {"model": "generator"}, count=count)
    return draft.add("both", "images.join", "plain and generated", {"images": [varied, "synthetic"]})


def steps(draft: Draft, registry: Registry, method: str, train: str, varied: str) -> str:
    """One image with a defect in, many out, labelled, measured, and joined with the plain ones."""
    if not registered(draft):
        return pasted(draft, method, train, varied)
    height, width = draft.side
    count = COUNT if height * width <= LARGE else COUNT_LARGE
    fields, took = registry.tasks[f"{method}.train"].params.model_fields, ""
    if method == FIRST:
        took = f" (about {minutes(generator_seconds(fields['steps'].default, count, height, width))} on {core()})"
    draft.say(f"generator: {method} on one image with a defect, {count} generated ones beside the plain ones{took}")
    alone, found = train, draft.survey
    if draft.steps[train]["task"] == "images.split":
        # what is held out stays unseen: the generator gets an image of the training part
        split = {"inputs": draft.steps[train]["inputs"], "part": "train", "defects": 1}
        alone = draft.add("one", "images.split", "one image with a defect, and the clean ones", **split)
    elif found.images - found.clean > 1:
        drawn: dict[str, Any] = {"inputs": {"images": train}, "defects": 1, "clean": None}
        alone = draft.add("one", "images.draw", "one image with a defect, and the clean ones", **drawn)
    # images with references of their own are generated along one, and then have it beside them
    own = draft.survey.references
    anchor: dict[str, Any] = {"anchor": "reference"} if own else {}
    reference = {} if own else {"reference": alone}
    draft.add("generator", f"{method}.train", "sees the one image with a defect and no other", {"images": alone}, **anchor)
    draft.add("synthetic", f"{method}.sample", "", {"model": "generator"}, count=count)
    comment = f"masks of the generated images, by difference to {'their reference' if anchor else 'the clean ones'}"
    rule = draft.steps.get("labelled", {}).get("params", {})
    draft.add("synthetic_labelled", "reference-difference.label", comment, {"images": "synthetic", **reference}, **rule)
    draft.add("quality", "quality.evaluate", "how good the generated images are", {"images": "synthetic", "reference": alone})
    return draft.add("both", "images.join", "plain and generated", {"images": [varied, "synthetic_labelled"]})
