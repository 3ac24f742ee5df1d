"""The task `label`: masks of all images of a set, and what they say about the set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError, Interrupted
from fabloom.kinds import ImageSet
from fabloom.kinds.masks import is_defect
from fabloom.method import Context
from fabloom.plugins.blocks.difference import BATCH, clean_reference, grey, line_shift, make_rule
from fabloom.plugins.blocks.labels import LabelParams


def _batches(ctx: Context, images: ImageSet) -> Iterator[NDArray[np.uint8]]:
    with ctx.progress(len(images), unit="image", name="label") as bar:
        for start in range(0, len(images), BATCH):
            if ctx.stop_requested():
                raise Interrupted(f"stopped after {start} of {len(images)} images. Run the same command again to start over.")
            batch = images.images[start : start + BATCH]
            yield batch
            bar.advance(len(batch))


def run(ctx: Context, params: LabelParams, images: ImageSet, reference: ImageSet) -> ImageSet:
    """Label the images and write them with masks and domain."""
    size, wanted = images.images.shape[2:], reference.images.shape[2:]
    if size != wanted:
        raise DataError(f"images are {size[0]} x {size[1]} but the reference is {wanted[0]} x {wanted[1]}; they must have one size")
    clean = clean_reference(reference)
    rule = make_rule(params, images, clean)
    middle = np.median(clean, axis=0)
    masks = np.zeros((len(images), *size), np.uint8)
    counts: list[int] = []
    off = 0
    for batch in _batches(ctx, images):
        values = grey(batch)
        off += int((np.abs(line_shift(values, middle)) > 1).sum())
        for value in values:
            masks[len(counts)], accepted = rule.mask(value)
            counts.append(accepted)
    if images.masks is not None:
        _tell_given(ctx, np.asarray(images.masks), masks)
    attrs = {
        "preset": params.preset,
        "threshold": rule.threshold,
        "min_area": rule.min_area,
        "min_circularity": rule.min_circularity,
        "sigma": rule.sigma,
        "contrast": rule.contrast,
        "defect_share": float(np.mean(np.array(counts) > 0)),
        "components": {str(number): many for number, many in sorted(Counter(counts).items())},
        "components_mean": float(np.mean(counts)),
        "off_reference_share": off / len(images),
        "reference_images": len(clean),
    }
    return ImageSet.write(ctx, images.images[:], masks=masks, **images.origins(), channels=images.images.shape[1], attrs=attrs)


def _tell_given(ctx: Context, given: NDArray[np.uint8], made: NDArray[np.uint8]) -> None:
    """The images had masks: say that these are others, and how far they are from them."""
    truth, found = is_defect(given), made > 0
    unlike = int(((truth != found).any((1, 2))).sum())
    domain = int((truth.any((1, 2)) != found.any((1, 2))).sum())
    union = (truth | found).sum()
    iou = f"{(truth & found).sum() / union:.2f}" if union else "1"
    ctx.log(
        f"the images have masks of their own, which are left out here: the new ones meet them with an IoU of {iou}, differ in {unlike} of "
        f"{len(given)} images and disagree in {domain} on whether there is a defect. To train on your own masks leave this step out"
    )
