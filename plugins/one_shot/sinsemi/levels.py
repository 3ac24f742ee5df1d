"""The training image at every scale, in the units the network sees, with the channels that anchor it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fabloom.plugins.blocks.pyramid import Pyramid, Size, resize

LEVELS = 255.0


@dataclass(frozen=True)
class Levels:
    """Scales of an image, or of several: `images[s]` and `recons[s]` [P,C,h,w] with zero mean and unit deviation; `recons[0]` is None.

    `mean` and `deviation` (of the finest scale, in [0, 1]) map back: grey = value * deviation + mean.
    """

    images: Sequence[Tensor]
    recons: Sequence[Tensor | None]
    mean: float
    deviation: float

    @property
    def sizes(self) -> list[Size]:
        """(height, width) of every scale."""
        return [(int(image.shape[-2]), int(image.shape[-1])) for image in self.images]

    def value_range(self) -> tuple[float, float]:
        """Least and largest value of the finest scale."""
        return float(self.images[-1].min()), float(self.images[-1].max())


def build(pixels: NDArray[np.uint8], sizes: Sequence[Size], *, normalise: str, quantise: bool, like: Levels | None = None) -> Levels:
    """The levels of an image [C,H,W] at the given sizes, in the units of `like` if there is one.

    `normalise="each"` gives every image and recon its own statistics, with the unbiased deviation, as the released code does.
    """
    image = resize(torch.tensor(pixels).float()[None] / LEVELS, sizes[-1])[0]
    pyramid = Pyramid.build(image, sizes, levels=LEVELS if quantise else None)
    finest = pyramid.images[-1]
    mean, deviation = (float(finest.mean()), float(finest.std(correction=0))) if like is None else (like.mean, like.deviation)

    def normal(values: Tensor) -> Tensor:
        if normalise == "each":
            return (values - values.mean()) / (values.std() + 1e-8)
        return (values - mean) / deviation

    images = [normal(values) for values in pyramid.images]
    recons = [None if values is None else normal(values) for values in pyramid.recons]
    return Levels(images, recons, mean, deviation)


def build_all(pictures: Sequence[NDArray[np.uint8]], sizes: Sequence[Size], *, normalise: str, quantise: bool) -> Levels:
    """The levels of several images [C,H,W] in the units of the first, as one batch [P,C,h,w] a scale."""
    first = build(pictures[0], sizes, normalise=normalise, quantise=quantise)
    parts = [first, *(build(pixels, sizes, normalise=normalise, quantise=quantise, like=first) for pixels in pictures[1:])]
    whole = Pyramid.joined([Pyramid(part.images, part.recons) for part in parts])
    return replace(first, images=whole.images, recons=whole.recons)


def shrunk(pixels: NDArray[np.uint8], sizes: Sequence[Size], *, normalise: str, quantise: bool, like: Levels) -> Sequence[Tensor]:
    """The scales [1,C,h,w] of a clean image [C,H,W] in the units of the training image."""
    return build(pixels, sizes, normalise=normalise, quantise=quantise, like=like).images
