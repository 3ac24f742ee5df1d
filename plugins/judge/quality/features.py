"""Scores from the features of networks: LPIPS to the reference and among the images, and SIFID."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fabloom.method import Context
from fabloom.plugins.blocks.difference import Real
from fabloom.plugins.blocks.frechet import Gaussian, frechet
from fabloom.plugins.blocks.perceptual import Lpips

from .comparison import Comparison, batched, unit
from .sifid import Stem

Taps = list[Tensor]


@dataclass(frozen=True)
class Distances:
    """Of every image to the reference [N], and of the clean image to it (None without one)."""

    values: Real
    pair: float | None


def lpips(ctx: Context, model: Lpips, given: Comparison, neighbours: int) -> tuple[Distances, Real | None]:
    """LPIPS to the reference, and the mean LPIPS [N] of each image to those before it in a ring of random order.

    The features of an image are computed once: a walk along the ring keeps those of the last few. None for a single image.
    """
    count = len(given.images)
    ring = torch.randperm(count, generator=ctx.generator("ring")).numpy()
    back = min(neighbours, count - 1)

    def features(pixels: NDArray[np.uint8]) -> Taps:
        return model.features(unit(pixels, ctx.device))

    with torch.no_grad():
        goal = features(given.reference)
        pair = None if given.clean is None else float(model.distance(features(given.clean), goal))
        before = features(given.images[ring[count - back :]]) if back else []

    def score(pixels: NDArray[np.uint8]) -> Tensor:
        nonlocal before
        own = features(pixels)
        columns = [model.distance(own, goal)]
        if back:
            line = [torch.cat(taps) for taps in zip(before, own, strict=True)]
            columns += [model.distance(own, [taps[back - lag : len(taps) - lag] for taps in line]) for lag in range(1, back + 1)]
            before = [taps[len(taps) - back :] for taps in line]
        return torch.stack(columns, 1)

    found = batched(ctx, f"LPIPS {model.net}", given.images[ring], score)
    values = np.empty(count)
    values[ring] = found[:, 0]
    return Distances(values, pair), found[:, 1:].mean(1) if back else None


def sifid(ctx: Context, stem: Stem, given: Comparison) -> Distances:
    """SIFID of every image to the reference."""

    def gaussian(pixels: NDArray[np.uint8]) -> Gaussian:
        return Gaussian.of(stem(unit(pixels, ctx.device)).cpu())

    with torch.no_grad():
        goal = gaussian(given.reference)
        pair = None if given.clean is None else float(frechet(gaussian(given.clean), goal))
    return Distances(batched(ctx, "SIFID", given.images, lambda pixels: frechet(gaussian(pixels), goal)), pair)
