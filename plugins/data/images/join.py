"""The task `join`: several sets as one, as real images and generated ones to train on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.kinds import ImageSet
from fabloom.method import Context
from fabloom.plugins.blocks.columns import grey_attrs
from fabloom.plugins.blocks.truth import label_attrs


def join(ctx: Context, images: Sequence[ImageSet]) -> ImageSet:
    """Write all images of the sets, one set after the other."""
    if not images:
        raise DataError("there is no set to join; give `images` a list of steps")
    shapes = [one.images.shape[1:] for one in images]
    if len(set(shapes)) > 1:
        other = next(shape for shape in shapes if shape != shapes[0])
        raise DataError(f"sets of {shapes[0]} and {other} (channels, height, width) cannot be one; bring them to one size and colour")
    names = list(dict.fromkeys(tuple(one.mask_names) for one in images if one.masks is not None))
    if len(names) > 1:
        raise DataError(f"the masks of the sets tell other classes: {', '.join(names[0])} and {', '.join(names[1])}")
    written: dict[str, Any] = {}
    if names:
        written["masks"] = np.concatenate([masks(one) for one in images])
        if names[0] != ("clean", "defect"):
            written["class_names"] = list(names[0])
    else:
        domains = [one.domain for one in images if one.domain is not None]
        if len(domains) == len(images):
            written["domain"] = np.concatenate([np.asarray(domain[...]) for domain in domains])
    pixels = np.concatenate([np.asarray(one.images[...]) for one in images])
    attrs = {"joined_from": [one.key for one in images], **grey_attrs(images[0]), **label_attrs(*images)}
    return ImageSet.write(ctx, pixels, channels=pixels.shape[1], attrs=attrs, **written, **origins(images))


def masks(images: ImageSet) -> NDArray[np.uint8]:
    """The masks of a set; of clean images without masks empty ones. Raises DataError where a defect may be anywhere."""
    if images.masks is not None:
        return np.asarray(images.masks[...])
    if images.domain is None or np.asarray(images.domain[...]).any():
        raise DataError(f"set {images.key[:12]} has no masks and is not all clean, while another has: label it first")
    return np.zeros((len(images), *images.images.shape[2:]), np.uint8)


def origins(images: Sequence[ImageSet]) -> dict[str, Any]:
    """Sources of the joined set: a name that two sets share is one source; images of a set without sources are one each."""
    index: dict[str, int] = {}
    source: list[int] = []
    for number, one in enumerate(images, start=1):
        known = one.origins()
        rows = [known["source_names"][at] for at in known["source"]] if known else [f"input {number}, row {row}" for row in range(len(one))]
        source += [index.setdefault(name, len(index)) for name in rows]
    return {"source": np.array(source, np.int32), "source_names": list(index)}
