"""The training image at every scale, in the values the network sees, with the channels that anchor it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.pyramid import Pyramid, Size, fitted, resize, scale_sizes

from .params import TrainParams

WHITE = 255.0


def plan_sizes(pixels: NDArray[np.uint8], params: TrainParams) -> list[Size]:
    """Sizes of the scales of a training image. Raises DataError for one that is too small."""
    height, width = pixels.shape[1:]
    return scale_sizes(fitted((height, width), params.max_pixels), params.area, params.ratio)


def build(pixels: NDArray[np.uint8], sizes: Sequence[Size], values: GreyMap, *, quantise: bool) -> Pyramid:
    """The pyramid of an image [C,H,W] in network values: every scale shrunk from the image by Lanczos, recons bilinear."""
    image = resize(torch.tensor(pixels).float()[None] / WHITE, sizes[-1], "lanczos")[0]
    grey = Pyramid.build(image, sizes, "lanczos", WHITE if quantise else None)
    # overshoot at edges is cut to the range that sampling clips to
    images = [values.forward(scale * WHITE).clamp(-1, 1) for scale in grey.images]
    if quantise:
        return Pyramid(images, [None if recon is None else values.forward(recon * WHITE) for recon in grey.recons])
    return Pyramid(images, [None, *(resize(small, size) for small, size in zip(images, sizes[1:], strict=False))])
