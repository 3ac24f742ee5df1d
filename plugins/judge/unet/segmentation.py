"""The task `segment`: masks and score maps of images nobody has drawn on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import remove_small_objects
from torch import Tensor

from fabloom.errors import DataError, Interrupted
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.components import EIGHT
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.seen import number_seen
from fabloom.plugins.blocks.structure import SAME_PITCH, pitch

from .calibration import PLAIN
from .networks import class_names, load, outputs, probabilities
from .params import SegmentParams
from .tiling import tiled

PIXELS = 2**21
"""Most pixels that are predicted at once, so that large images take no more memory than small ones."""


def segment(ctx: Context, params: SegmentParams, images: ImageSet, model: Model) -> ImageSet:
    """The same images with the masks that the model finds in them, and its mean probability at every pixel as `scores`."""
    config = check(model, images)
    doubts = [*range_doubt(images), *pitch_doubt(config.get("pitch"), images)]
    for line in doubts:
        ctx.log(line)
    names = class_names(config)
    threshold = config.get("threshold", PLAIN) if params.threshold is None else params.threshold
    attrs = {"segmenter": model.key, "trainings": config["repeats"], "threshold": threshold, "min_area": params.min_area}
    attrs |= {"seen": number_seen(model, images.images), **({"doubts": doubts} if doubts else {})}
    named = names if names != ["clean", "defect"] else None
    batches = found(ctx, params, images, model, threshold)
    channels = images.images.shape[1]
    return ImageSet.write(ctx, batches, count=len(images), channels=channels, class_names=named, attrs=attrs, **images.origins())


def found(ctx: Context, params: SegmentParams, images: ImageSet, model: Model, threshold: float) -> Iterator[dict[str, NDArray[Any]]]:
    """Batches of images with their masks, scores, and the references that come with them."""
    config, nets = model.config, list(load(model, ctx.device))
    grey = GreyMap(*config["grey"])
    height, width = images.images.shape[2:]
    batch = max(1, min(params.batch, PIXELS // (height * width)))

    def predict(x: Tensor) -> Tensor:
        with ctx.autocast(params.precision):
            return torch.stack([probabilities(outputs(net, x, config["depth"])) for net in nets]).mean(0)

    with ctx.progress(len(images), unit="image", name="segment") as bar:
        for start in range(0, len(images), batch):
            if ctx.stop_requested():
                raise Interrupted(f"stopped after {start} of {len(images)} images. Run the same command again to start over.")
            rows = slice(start, start + batch)
            pixels = np.asarray(images.images[rows])
            with torch.inference_mode():
                each = tiled(predict, grey.forward(pixels).to(ctx.device), params.tile, params.overlap).cpu()
                defect = (each[:, 0] if each.shape[1] == 1 else 1 - each[:, 0]).numpy()
                values = each[:, 1:].argmax(1).add(1).numpy() if each.shape[1] > 1 else None
            masks = [
                cleaned(one > threshold, params.min_area, None if values is None else values[row]) for row, one in enumerate(defect)
            ]  # fmt: skip
            kept = {} if images.references is None else {"references": np.asarray(images.references[rows])}
            yield {"images": pixels, "masks": np.stack(masks), "scores": defect.astype(np.float16), **kept}
            bar.advance(len(pixels))


def check(model: Model, images: ImageSet) -> dict[str, Any]:
    """The config of a segmenter that takes these images. Raises DataError for anything else."""
    config: dict[str, Any] = dict(model.config)
    if config.get("role") != "unet" or "repeats" not in config:
        raise DataError(f"model {model.key[:12]} is no segmenter of this unet.train (role '{config.get('role')}'); give one of unet.train")
    wanted, given = model.config["image"][0], images.images.shape[1]
    if wanted != given:
        cure = "load them with colour: grey" if wanted == 1 else "load colour images"
        raise DataError(f"model {model.key[:12]} takes {wanted} channel{'s' * (wanted > 1)}, images {images.key[:12]} have {given}; {cure}")
    return config


def range_doubt(images: ImageSet) -> list[str]:
    """That images of more than 8 bits were mapped by their own extremes."""
    low, high = images.attrs.get("grey_low", 0), images.attrs.get("grey_high", 255)
    if (low, high) == (0, 255) or images.attrs.get("grey_given", False):
        return []
    return [
        f"these images map {low:g} to {high:g}, their own extremes, to 0 to 255; those of the training images may have been others. "
        "Give images.load `grey_range`, or `fabloom predict` --grey-range, to map both alike"
    ]


def pitch_doubt(trained: float | None, images: ImageSet) -> list[str]:
    """That the structure has another period in pixels than in the training images: another magnification, or another product."""
    here = pitch(images.images) if trained is not None else None
    if trained is None or here is None or abs(here / trained - 1) <= SAME_PITCH:
        return []
    return [
        f"the structure of these images has a period of {here:.1f} px, that of the training images one of {trained:.1f}: where this is "
        "another magnification or product, defects are missed. Take images as those that were learned from, or train on such as these"
    ]


def cleaned(mask: NDArray[np.bool_], min_area: int, values: NDArray[Any] | None = None) -> NDArray[np.uint8]:
    """The mask [H,W] as 0 and 1, or as the class `values` of its pixels, without 8-connected components of fewer pixels.

    A part of one class that is smaller gets the class that most of the component around it has: it is no defect by itself.
    """
    kept: NDArray[np.bool_] = remove_small_objects(mask, max_size=min_area - 1, connectivity=2)
    if values is None:
        return kept.astype(np.uint8)
    classes = np.where(kept, values, 0).astype(np.uint8)
    whole, _ = ndimage.label(kept, EIGHT)
    for number, box in enumerate(ndimage.find_objects(whole), start=1):
        inside, part = whole[box] == number, classes[box]
        counts = np.bincount(part[inside])
        for value in np.flatnonzero(counts) if np.count_nonzero(counts) > 1 else ():
            own = inside & (part == value)
            part[own & ~remove_small_objects(own, max_size=min_area - 1, connectivity=2)] = counts.argmax()
    return classes
