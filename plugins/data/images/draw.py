"""The tasks `draw` and `shuffle_masks`: a few images of a set, and a set whose masks are one another's."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds import ImageSet
from fabloom.kinds.masks import drawn_domain
from fabloom.kinds.origin import row_origins
from fabloom.method import Context
from fabloom.plugins.blocks.columns import columns, grey_attrs
from fabloom.plugins.blocks.sources import copies, groups
from fabloom.plugins.blocks.truth import label_attrs

from .parts import DrawParams
from .split import described, order


def draw(ctx: Context, params: DrawParams, images: ImageSet) -> ImageSet:
    """Write the images that were drawn, those with a defect first, each sort in the order in which it was drawn."""
    if images.domain is None:
        raise DataError(f"set {images.key[:12]} does not say which images have a defect; label it first (reference-difference.label)")
    single, domain = params.unit == "image", np.asarray(images.domain[...]) == 1
    parts = copies(np.asarray(images.images[...])) if single else groups(images)
    defective, names = described(images, parts)
    if single:
        names = [f"{name} {number}" for number, name in enumerate(names)]  # tiles have the name of their image
    rows: list[int] = []
    for sort, members, wanted in (("with a defect", defective, params.defects), ("without a defect", ~defective, params.clean)):
        if wanted is not None and (there := int(members.sum())) < wanted:
            raise DataError(
                f"{wanted} images {sort} are asked for, and set {images.key[:12]} has them of {there} {params.unit}{'s' * (there != 1)}; "
                f"ask for {there} at most, or give more images"
            )
        chosen = order(ctx.seed, members, names)[:wanted]
        rows += [int(np.flatnonzero((parts == group) & (domain == defective[group]))[0]) for group in chosen]  # one that is of the sort
    index = np.array(rows, np.int64)
    written = columns(images, index)
    written = written if "source" in written else written | row_origins(index)
    attrs = {"drawn_from": images.key, "defects": params.defects, "clean": params.clean, **grey_attrs(images), **label_attrs(images)}
    pixels = np.asarray(images.images[...])[index]
    return ImageSet.write(ctx, pixels, channels=pixels.shape[1], attrs=attrs, **written)


def shuffle_masks(ctx: Context, images: ImageSet) -> ImageSet:
    """Write the set with the masks of its defect images handed round, so that none has a mask that is equal to its own."""
    if images.masks is None:
        raise DataError(f"set {images.key[:12]} has no masks to hand round; label it first")
    masks = np.asarray(images.masks[...])
    drawn = np.flatnonzero(drawn_domain(masks))
    given = handed_round(masks[drawn], np.random.default_rng(ctx.seed))
    if given is None:
        raise DataError(f"the {len(drawn)} defect images of set {images.key[:12]} have one mask in common: nothing can be handed round")
    shuffled = masks.copy()
    shuffled[drawn] = masks[drawn][given]
    rows = np.arange(len(masks))
    written: dict[str, Any] = columns(images, rows) | {"masks": shuffled}
    written.pop("scores", None)
    pixels = np.asarray(images.images[...])
    attrs = {"masks_shuffled_of": images.key, **grey_attrs(images)}
    return ImageSet.write(ctx, pixels, channels=pixels.shape[1], attrs=attrs, **written)


def handed_round(masks: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.int64] | None:
    """Whose mask each image gets: a random order, turned until fewest keep a mask that is equal to their own; None if all masks are equal.

    Variations of one image may share a mask, so that a few may keep an equal one where most masks are alike.
    """
    _, same = np.unique(masks.reshape(len(masks), -1), axis=0, return_inverse=True)
    if len(np.unique(same)) < 2:
        return None
    mixed = rng.permutation(len(masks))
    mixed = mixed[np.argsort(same.ravel()[mixed], kind="stable")]  # equal ones beside each other, in a random order
    most = int(np.bincount(same.ravel()).max())
    given = np.empty(len(masks), np.int64)
    given[mixed] = np.roll(mixed, most)  # by as many as the largest group: past all equal ones, where they are at most half
    return given
