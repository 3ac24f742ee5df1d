"""The training image at every scale, in the values the network sees, with the channels that anchor it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.pyramid import Pyramid, Size, resize

WHITE = 255.0


def build(pixels: NDArray[np.uint8], sizes: Sequence[Size], values: GreyMap, *, quantise: bool) -> Pyramid:
    """The pyramid of an image [C,H,W] in network values: every scale shrunk from the image by Lanczos, recons bilinear."""
    image = resize(torch.tensor(pixels).float()[None] / WHITE, sizes[-1], "lanczos")[0]
    grey = Pyramid.build(image, sizes, "lanczos", WHITE if quantise else None)
    # overshoot at edges is cut to the range that sampling clips to
    images = [values.forward(scale * WHITE).clamp(-1, 1) for scale in grey.images]
    if quantise:
        return Pyramid(images, [None if recon is None else values.forward(recon * WHITE) for recon in grey.recons])
    return Pyramid(images, [None, *(resize(small, size) for small, size in zip(images, sizes[1:], strict=False))])


def build_all(pictures: Sequence[NDArray[np.uint8]], sizes: Sequence[Size], values: GreyMap, *, quantise: bool) -> Pyramid:
    """The pyramids of several images [C,H,W] as one, with a batch [P,C,h,w] a scale."""
    return Pyramid.joined([build(pixels, sizes, values, quantise=quantise) for pixels in pictures])


def shrunk(pixels: NDArray[np.uint8], sizes: Sequence[Size], *, values: GreyMap, quantise: bool) -> Sequence[Tensor]:
    """The scales [1,C,h,w] of a clean image [C,H,W] in network values."""
    return build(pixels, sizes, values, quantise=quantise).images
