"""The image pyramid of the one-shot methods, and the one way to resize.

SinSEMI and SinDDM share the rule of sizes (Kulikov et al. 2023): the coarsest short side is chosen so that the receptive field
covers about 40 % of the coarsest image, and the scales between are geometric.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from fabloom.errors import DataError

from .scale_params import SHORTEST

Kernel = Literal["bilinear", "bicubic", "lanczos"]
Size = tuple[int, int]
SMALLEST, LARGEST = SHORTEST, 55
"""Bounds of the coarsest short side in pixels."""


def resize(images: Tensor, size: Size, kernel: Kernel = "bilinear") -> Tensor:
    """Images [B,C,H,W] float to [B,C,*size], half-pixel centres, low-passed where the size shrinks.

    `bilinear` and `bicubic` (a = -1/2) are torch's antialiased kernels, differentiable and equal to Pillow's on floats up to
    round-off; `lanczos` is Pillow's, on the CPU and without gradient.
    """
    if tuple(images.shape[-2:]) == tuple(size):
        return images
    if kernel != "lanczos":
        return interpolate(images, size, mode=kernel, align_corners=False, antialias=True)
    flat = images.detach().float().cpu().flatten(0, 1).numpy()
    planes = [np.asarray(Image.fromarray(plane).resize((size[1], size[0]), Image.Resampling.LANCZOS)) for plane in flat]
    return torch.from_numpy(np.stack(planes)).reshape(*images.shape[:2], *size).to(images)


def fitted(size: Size, max_pixels: int) -> Size:
    """The size itself, or shrunk to about `max_pixels` with its aspect kept (sides truncated to whole pixels)."""
    height, width = size
    if height * width <= max_pixels:
        return size
    shrink = sqrt(height * width / max_pixels)
    return int(height / shrink), int(width / shrink)


def scale_sizes(size: Size, area: float, ratio: float, least: int = 0) -> list[Size]:
    """(height, width) of every scale, coarsest first; the last one is `size`.

    d0 = clamp(round(sqrt(area * short / long)), 42, 55) is the coarsest short side, or `least` where that is more,
    S = round(ln(short / d0) / ln(ratio) + 1) the number of scales, and the ratio that is used is adjusted so that scale 0 has that
    side. Raises DataError below 42 pixels.
    """
    height, width = size
    short, long = min(size), max(size)
    if short < SMALLEST:
        raise DataError(f"an image of {height} x {width} is too small for a pyramid: the short side must have {SMALLEST} pixels or more")
    coarsest = max(min(max(round(sqrt(area * short / long)), SMALLEST), LARGEST), min(least, short))
    count = round(log(short / coarsest) / log(ratio) + 1) if short > coarsest else 1
    if count < 2:
        return [size]
    step = exp(log(short / coarsest) / (count - 1))
    return [(round(height / step**level), round(width / step**level)) for level in reversed(range(count))]


@dataclass(frozen=True)
class Pyramid:
    """One image at every scale, coarsest first.

    `images[s]` float [1,C,h,w]; `recons[s]` is scale s-1 resized up to the size of scale s, which is where generation starts
    from at s >= 1, and None at s = 0.
    """

    images: Sequence[Tensor]
    recons: Sequence[Tensor | None]

    @property
    def sizes(self) -> list[Size]:
        """(height, width) of every scale."""
        return [(int(image.shape[-2]), int(image.shape[-1])) for image in self.images]

    @classmethod
    def joined(cls, parts: Sequence[Pyramid]) -> Pyramid:
        """Pyramids of one size as one, with a batch [P,C,h,w] a scale."""
        images = [torch.cat(scale) for scale in zip(*(part.images for part in parts), strict=True)]
        blurred = [[recon for recon in scale if recon is not None] for scale in zip(*(part.recons for part in parts), strict=True)]
        return cls(images, [torch.cat(scale) if scale else None for scale in blurred])

    @classmethod
    def build(cls, image: Tensor, sizes: Sequence[Size], kernel: Kernel = "bilinear", levels: float | None = None) -> Pyramid:
        """From an image [C,H,W]; every scale is shrunk directly from it with `kernel`, recons are bilinear.

        `levels` rounds every resized image to multiples of 1 / levels of a unit (255 for images in [0, 1]), as pyramids that
        are kept in 8-bit files do; None keeps floats.
        """

        def kept(values: Tensor) -> Tensor:
            return values if levels is None else ((values * levels).round() / levels).clamp(0, 1)

        images = [kept(resize(image[None], size, kernel)) for size in sizes]
        ups = [kept(resize(small, size)) for small, size in zip(images, sizes[1:], strict=False)]
        return cls(images, [None, *ups])


def grown_sizes(sizes: Sequence[Size], size: Size | None) -> list[Size]:
    """The sizes of an output of another size: every scale times output over finest, truncated."""
    if size is None:
        return list(sizes)
    (height, width), finest = size, sizes[-1]
    return [(h * height // finest[0], w * width // finest[1]) for h, w in sizes]


def coarse_to_fine(canvas: Tensor, sizes: Sequence[Size], step: Callable[[int, Tensor], Tensor], kernel: Kernel = "bilinear") -> Tensor:
    """The canvas [B,C,h,w] through all scales: resized to each, then what `step` makes of it there."""
    for scale, size in enumerate(sizes):
        canvas = step(scale, resize(canvas, size, kernel))
    return canvas
