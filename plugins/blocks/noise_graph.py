"""A generator that makes an image of noise in one pass, as a graph: its noises are one vector for each image."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TypeAlias

from torch import Tensor, nn

from fabloom.network import Network

from .graphs import example, traceable

Shape: TypeAlias = tuple[int, int, int]


def split(noise: Tensor, shapes: Sequence[Shape]) -> list[Tensor]:
    """The noises [B,C,h,w] of all scales out of one vector [B,n] that holds them one after the other."""
    parts = noise.split([prod(shape) for shape in shapes], 1)
    return [part.unflatten(1, shape) for part, shape in zip(parts, shapes, strict=True)]


def noise_graph(generator: nn.Module, shapes: Sequence[Shape]) -> dict[str, Network]:
    """`generator`: noise [B,n], which the module may take apart by `split`, to images [B,C,h,w] of the size that was trained."""
    meaning = {
        "noise": f"standard normal: that of all scales one after the other, coarsest first, of [channels, height, width] {shapes}",
        "image": "grey levels [low, high] of the config's `values` are [-1, 1]; what lies outside is to be clipped",
    }
    inputs = {"noise": example(2, sum(prod(shape) for shape in shapes))}
    return {"generator": Network(traceable(generator), inputs, ("image",), None, meaning)}
