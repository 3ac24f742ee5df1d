"""The task `class_masks`: masks that mark defects alone get the value of each image's class, so that a segmenter tells classes apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds import ImageSet
from fabloom.kinds.masks import UNKNOWN, drawn_domain, is_defect, tells_classes
from fabloom.method import Context
from fabloom.plugins.blocks.columns import columns, grey_attrs
from fabloom.plugins.blocks.references import name_of
from fabloom.plugins.blocks.truth import label_attrs

from .entries import CLEAN


def class_masks(ctx: Context, images: ImageSet) -> ImageSet:
    """Write the images with masks of classes; what else is known of them goes along."""
    masks, labels = given(images)
    unsure: NDArray[np.bool_] = (masks == UNKNOWN).any((1, 2))
    names, labels = classes(images, drawn_domain(masks) > 0, unsure, labels)
    told = np.where(is_defect(masks), labels.astype(np.uint8)[:, None, None], masks)
    found: dict[str, Any] = columns(images, np.arange(len(images))) | {"masks": told, "labels": labels, "class_names": names}
    counts = {names[value]: int(count) for value, count in zip(*np.unique(labels, return_counts=True), strict=True)}
    ctx.log(f"images by class: {', '.join(f'{name} {count}' for name, count in counts.items())}")
    channels = images.images.shape[1]
    blocks = (images.images[start : start + ImageSet.BLOCK] for start in range(0, len(images), ImageSet.BLOCK))
    attrs = {"classed_from": images.key, **grey_attrs(images), **label_attrs(images)}
    return ImageSet.write(ctx, blocks, count=len(images), channels=channels, attrs=attrs, **found)


def given(images: ImageSet) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    """Masks [N,H,W] of one class and labels [N]. Raises DataError for a set without either, or whose masks tell classes already."""
    if images.masks is None:
        raise DataError(f"set {images.key[:12]} has no masks; label it first (reference-difference.label, or a set with masks)")
    if images.labels is None:
        raise DataError(
            f"set {images.key[:12]} has no labels: nothing says of which class an image is. Load it from a folder for each class"
        )
    masks = np.asarray(images.masks)
    if tells_classes(masks):
        raise DataError(f"the masks of set {images.key[:12]} tell classes already: {', '.join(images.mask_names)}. Leave this step out")
    return masks, np.asarray(images.labels)


def classes(
    images: ImageSet, marked: NDArray[np.bool_], unsure: NDArray[np.bool_], labels: NDArray[np.int16]
) -> tuple[list[str], NDArray[np.int16]]:
    """Class names, the clean one first, and the labels [N] that count them; `marked` and `unsure` [N]: masks with a defect, with 255.

    The first class of a set is the clean one, unless every image of it is marked: then none is, and 'clean' is put before it.
    Raises DataError, naming an image, where marks and classes contradict each other.
    """
    names, first = images.class_names, labels == 0
    if first.any() and marked[first].all() and names[0] != CLEAN and CLEAN not in names:
        names, labels, first = [CLEAN, *names], (labels + 1).astype(np.int16), np.zeros_like(first)
    if len(names) > UNKNOWN:
        raise DataError(f"set {images.key[:12]} has {len(names)} classes; a mask tells {UNKNOWN - 1} of defects at most")
    for wrong, how in ((first & marked, "the first class, which is the clean one, but its mask marks a defect"),
                       (~first & ~marked & ~unsure, "but its mask marks nothing")):  # fmt: skip
        if wrong.any():
            row = int(wrong.argmax())
            many = f" (and {int(wrong.sum()) - 1} more images)" if wrong.sum() > 1 else ""
            raise DataError(f"'{name_of(images, row)}'{many} is of class '{names[labels[row]]}', {how}: mend its label or its mask")
    return names, labels
