"""Scores of the defects that images have: how many, and whether they lie where the reference's does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from fabloom.errors import DataError
from fabloom.kinds import ImageSet
from fabloom.method import Context
from fabloom.plugins.blocks.difference import Real, Rule, blur, grey
from fabloom.plugins.blocks.references import References, rule_of
from fabloom.plugins.blocks.references import find as find_references
from fabloom.plugins.blocks.registration import Register

from . import defects, notes, pictures, places
from .comparison import Comparison
from .defects import Defects
from .params import EvaluateParams
from .scores import Findings, Summary


def defect_scores(
    ctx: Context, params: EvaluateParams, given: Comparison, images: ImageSet, reference: ImageSet, summary: Summary, found: Findings
) -> None:
    """Defects by difference to the clean image; nothing without one, or where clean images are not of one place."""
    try:
        clean = held_against(ctx, params, given, images, reference)
    except DataError as problem:
        ctx.log(f"defects are not counted: {problem}")
        found.notes.append(notes.uncounted(problem))
        return
    if clean is None:
        found.notes.append(notes.NO_CLEAN)
        return
    values, published = grey(given.images), params.labels.preset == "published"
    pictures_of = list(clean.pictures(0, len(values)))
    placed = [clean.placer(picture).place(blur(value)) for value, picture in zip(values, pictures_of, strict=True)]
    rule = rule_of(params.labels, images, clean, placed)
    all_found = Defects.find(values, pictures_of, clean, rule, placed, published)
    if not all_found.judged.any():
        found.notes.append(notes.uncounted(f"none of the images lies where the clean one does; the first {placed[0]}"))
        return
    own = own_defects(given, reference, clean, rule)
    count = None if own is None else int(own.counts[0])
    lines = None if clean.shared is None else all_found.by_line(clean.shared)
    found.metrics["defects"] = defects.metrics(all_found, count, lines, summary)
    found.tables |= defects.tables(all_found, lines)
    if clean.shared is not None:
        found.pictures |= pictures.locations(all_found.centres, int(all_found.judged.sum()), clean.shared)
        place_scores(all_found, own, clean.shared, summary, found)
    found.notes.append(notes.counting(rule, count, published=published))


def held_against(ctx: Context, params: EvaluateParams, given: Comparison, images: ImageSet, reference: ImageSet) -> References | None:
    """The chosen clean image; else each image's own reference, where it has one; else all clean images laid on one another; or None.

    Raises DataError for clean images of several places, as labelling does.
    """
    aligns = params.labels.aligns
    if params.clean_row is None and images.references is not None:
        own = np.asarray(images.references)
        alike = bool((own == own[:1]).all())
        return References.of_one(images, grey(own[:1])[0], aligns) if alike else find_references(ctx, images, None, aligns)
    if given.clean is None:
        return None
    if params.clean_row is not None:
        return References.of_one(images, grey(given.clean)[0], aligns)
    return find_references(ctx, images, reference, aligns)  # the median of several has less noise


def place_scores(all_found: Defects, own: Defects | None, clean: Real, summary: Summary, found: Findings) -> None:
    """Where defects lie against where the reference's does; nothing where the rule finds none in either."""
    if own is None or not own.masks.any() or not all_found.masks.any():
        found.notes.append(notes.NO_PLACES)
        return
    found.metrics["places"] = places.metrics(places.Places.of(all_found.masks, own.masks[0], clean), summary)
    found.notes.append(notes.PLACES)


def own_defects(given: Comparison, reference: ImageSet, clean: References, rule: Rule) -> Defects | None:
    """Defects of the reference image itself: against the shared picture, else its own reference, else the pair's clean image."""
    if clean.shared is not None:
        picture = clean.shared
    elif reference.references is not None:
        picture = grey(np.asarray(reference.references[given.row : given.row + 1]))[0]
    elif given.clean is not None:
        picture = grey(given.clean)[0]
    else:
        return None
    image = grey(given.reference)
    placed = [Register.of(blur(picture), picture).place(blur(image[0]))]
    return Defects.find(image, [picture], replace(clean, shared=None), rule, placed, off=True)
