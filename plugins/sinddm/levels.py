"""The training image at every scale, in the values the network sees, with the channels that anchor it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fabloom.errors import DataError
from fabloom.plugins.blocks.grey import GreyMap
from fabloom.plugins.blocks.lattice import Lattice
from fabloom.plugins.blocks.one_shot import Picture
from fabloom.plugins.blocks.pyramid import Pyramid, Size, fitted, resize, scale_sizes

from .method import TrainParams

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


def find_lattice(picture: Picture, size: Size, anchor: str) -> Lattice:
    """The lattice of the picture at `size`, the finest scale; empty for `none`, and for `auto` without a periodic structure.

    Raises DataError where `lattice` is wanted and there is none.
    """
    if anchor == "none":
        return Lattice(())
    lattice = Lattice.fit(resize(torch.from_numpy(picture.grey)[None, None], size)[0, 0].numpy())
    if anchor == "lattice" and not lattice.frequencies:
        raise DataError("the image has no periodic structure that could anchor it; use `anchor: none`")
    return lattice


def lattice_of(config: Mapping[str, Any]) -> Lattice:
    """The lattice that a model's config holds."""
    return Lattice(tuple((float(y), float(x)) for y, x in config["lattice"]))


def anchors(lattice: Lattice, zooms: Sequence[tuple[float, float]], wanted: Sequence[Size]) -> list[Tensor | None]:
    """Context channels [1,2K,*wanted[s]] of every scale; None without a lattice.

    `zooms[s]` says how many pixels of the training image's finest scale a pixel of scale s spans, down and across.
    """
    if not lattice.frequencies:
        return [None for _ in wanted]
    return [lattice.phase(size, zoom)[None] for size, zoom in zip(wanted, zooms, strict=True)]


def zooms_of(sizes: Sequence[Size]) -> list[tuple[float, float]]:
    """Finest pixels that a pixel of every scale spans."""
    return [(sizes[-1][0] / height, sizes[-1][1] / width) for height, width in sizes]
