"""The task `segment`: masks and score maps of images nobody has drawn on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.morphology import remove_small_objects
from torch import Tensor

from fabloom.errors import DataError, Interrupted
from fabloom.kinds import ImageSet, Model
from fabloom.method import Context
from fabloom.plugins.blocks.grey import GreyMap

from .networks import load, logits
from .params import SegmentParams


def segment(ctx: Context, params: SegmentParams, images: ImageSet, model: Model) -> ImageSet:
    """The same images with the masks that the model finds in them, and its mean probability at every pixel as `scores`."""
    config = check(model, images)
    _tell_range(ctx, images)
    nets, grey = list(load(model, ctx.device)), GreyMap(*config["grey"])
    shape = (len(images), *images.images.shape[2:])
    masks, scores = np.empty(shape, np.uint8), np.empty(shape, np.float16)

    def predict(x: Tensor) -> Tensor:
        return torch.stack([logits(net, x, config["depth"]).sigmoid() for net in nets]).mean(0)

    with torch.inference_mode(), ctx.progress(len(images), unit="image", name="segment") as bar:
        for start in range(0, len(images), params.batch):
            if ctx.stop_requested():
                raise Interrupted(f"stopped after {start} of {len(images)} images. Run the same command again to start over.")
            pixels = np.asarray(images.images[start : start + params.batch])
            found = tiled(predict, grey.forward(pixels).to(ctx.device), params.tile, params.overlap).cpu().numpy()
            rows = slice(start, start + len(pixels))
            scores[rows] = found
            masks[rows] = np.stack([cleaned(one, params.min_area) for one in found > params.threshold])
            bar.advance(len(pixels))
    attrs = {"segmenter": model.key, "trainings": len(nets), "threshold": params.threshold, "min_area": params.min_area}
    batches = (images.images[start : start + ImageSet.BLOCK] for start in range(0, len(images), ImageSet.BLOCK))
    channels = images.images.shape[1]
    return ImageSet.write(ctx, batches, count=len(images), masks=masks, scores=scores, channels=channels, attrs=attrs, **images.origins())


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


def _tell_range(ctx: Context, images: ImageSet) -> None:
    low, high = images.attrs.get("grey_low", 0), images.attrs.get("grey_high", 255)
    if (low, high) != (0, 255) and not images.attrs.get("grey_given", False):
        ctx.log(
            f"these images map {low:g} to {high:g}, their own extremes, to 0 to 255; those of the training images may have been others. "
            "Give images.load `grey_range`, or `fabloom predict` --grey-range, to map both alike"
        )


def tiled(predict: Callable[[Tensor], Tensor], x: Tensor, tile: int, overlap: int) -> Tensor:
    """[B,H,W] from x [B,C,H,W], grey levels of -1 to 1 as the network takes them: at once where it fits into a tile, else from tiles that
    overlap, blended by a ramp to their edges.
    """
    height, width = x.shape[-2:]
    if height <= tile and width <= tile:
        return predict(x)
    total, weight = x.new_zeros((len(x), height, width)), x.new_zeros((height, width))
    for top, left in places(height, width, tile, overlap):
        part = x[..., top : top + tile, left : left + tile]
        ramp = torch.minimum(_ramp(part.shape[-2], overlap)[:, None], _ramp(part.shape[-1], overlap)[None]).to(x)
        total[..., top : top + tile, left : left + tile] += predict(part) * ramp
        weight[top : top + tile, left : left + tile] += ramp
    return total / weight


def places(height: int, width: int, tile: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Upper left corners of tiles that cover an image, the last of a row or column moved back to its edge."""
    starts = [
        [*range(0, max(length - tile, 0), tile - overlap), max(length - tile, 0)] for length in (height, width)
    ]  # the last one lies at the far edge
    yield from ((top, left) for top in starts[0] for left in starts[1])


def _ramp(length: int, overlap: int) -> Tensor:
    """Weights that rise from each end over the overlap; never 0, since a tile may be alone there."""
    at = torch.arange(length, dtype=torch.float32)
    return torch.minimum(at, length - 1 - at).add(1).div(overlap + 1).clamp(max=1)


def cleaned(mask: NDArray[np.bool_], min_area: int) -> NDArray[np.uint8]:
    """The mask [H,W] as 0 and 1, without 8-connected components of fewer pixels."""
    kept: NDArray[np.bool_] = remove_small_objects(mask, max_size=min_area - 1, connectivity=2)
    return kept.astype(np.uint8)
