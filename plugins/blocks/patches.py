"""Patches of images, and how those of two images differ."""

from __future__ import annotations

from math import ceil, sqrt

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, normalize, unfold

PATCH = 7
PROJECTIONS = 256
QUANTILES = 512
STEP = 3
"""Every third patch either way looks for its nearest: neighbours share most of their pixels."""
ASKING = 50**2
"""About so many patches look at most: in an image of more than 150 x 150 pixels they lie further apart."""
SIDE = 256
"""Side of a square image of which all patches are projected; of a larger one every second, third, ... either way."""
ANSWERING = 2**16
"""At most so many patches answer: in an image of more than 262 x 262 pixels a fixed random choice, since a grid could miss phases."""
PAIRS = 2**25
"""Most pairs of patches that are held at once."""


def projections(channels: int, seed: int = 99) -> Tensor:
    """Fixed random unit directions [256,C,7,7] in the space of patches."""
    draw = torch.Generator().manual_seed(seed)
    return normalize(torch.randn(PROJECTIONS, channels * PATCH * PATCH, generator=draw), dim=1).reshape(PROJECTIONS, channels, PATCH, PATCH)


def quantiles(images: Tensor) -> Tensor:
    """Quantiles [N,256,512] of the projected 7 x 7 patches of every image [N,C,H,W]; between two patches linear. No gradient."""
    apart = ceil(sqrt(images.shape[2] * images.shape[3]) / SIDE)
    return _quantiles(conv2d(images, projections(images.shape[1]).to(images), stride=apart).flatten(2))


def _quantiles(values: Tensor) -> Tensor:
    """[...,P] to [...,512]."""
    # numpy sorts with vector instructions, six times as fast as torch on a CPU, and fifteen times as fast as np.quantile finds so many
    values = values.sort(-1).values if values.is_cuda else torch.from_numpy(np.sort(values.detach().numpy(), -1))
    at = torch.linspace(0, values.shape[-1] - 1, QUANTILES, device=values.device, dtype=torch.float64)
    low = at.floor().long().clamp(max=values.shape[-1] - 2)
    return torch.lerp(values[..., low], values[..., low + 1], (at - low).to(values))


def sliced_wasserstein(images: Tensor, reference: Tensor) -> Tensor:
    """Sliced Wasserstein-1 distance [N] between the patches of every image [N,C,H,W] and of one reference [1,C,H,W].

    Mean over fixed directions of the L1 distance of quantile functions (Rabin et al. 2011), in the units of the images.
    """
    return (quantiles(images) - quantiles(reference)).abs().mean((1, 2))


def apart(images: Tensor, others: Tensor) -> float:
    """Sliced Wasserstein-1 distance of the 7 x 7 patches of two sets [N,C,H,W] and [M,C,H,W], all images of a set together, in their units.

    Every third patch either way counts: neighbours share most of their pixels.
    """
    views = projections(images.shape[1])
    found = [_quantiles(conv2d(one.float(), views.to(one.device), stride=STEP).transpose(0, 1).flatten(1)) for one in (images, others)]
    return float((found[0] - found[1]).abs().mean())


def nearest(images: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    """(coherence, completeness) [N] of images [N,C,H,W] against one reference [1,C,H,W], mean squared errors a pixel.

    Coherence: mean over patches of an image of the distance to the nearest patch of the reference. Completeness: the other
    way. Every third patch either way asks, fewer in large images; all patches answer, of large images a random part.
    """
    own, sparse = _patches(reference)
    found = []
    for image in images.split(1):
        dense, asking = _patches(image)
        found.append(torch.stack([_distance(asking, own), _distance(sparse, dense)]))
    coherence, completeness = torch.stack(found).T
    return coherence, completeness


def _patches(image: Tensor) -> tuple[Tensor, Tensor]:
    """The patches [P,C*49] of an image [1,C,H,W] that answer, and those that ask."""
    apart = max(ceil(sqrt(image.shape[2] * image.shape[3] / ASKING)), STEP)
    dense, asking = unfold(image, PATCH)[0].T, unfold(image, PATCH, stride=apart)[0].T
    if len(dense) > ANSWERING:
        chosen = torch.randperm(len(dense), generator=torch.Generator().manual_seed(ANSWERING))[:ANSWERING]
        dense = torch.cat([asking, dense[chosen.to(dense.device)]])  # with those that ask, so that a copy is at 0
    return dense, asking


def _distance(asking: Tensor, answering: Tensor) -> Tensor:
    """Mean over rows of `asking` of the mean squared error to the nearest row of `answering`."""
    # |a - b|^2 = |a|^2 - 2 a b + |b|^2; the mean, common to all, is taken off so that nothing cancels
    middle = answering.mean()
    asking, answering = asking - middle, answering - middle
    lengths, rows = answering.square().sum(1), max(PAIRS // len(answering), 1)
    least = torch.cat([torch.addmm(lengths, some, answering.T, alpha=-2).min(1).values for some in asking.split(rows)])
    return (least + asking.square().sum(1)).clamp(min=0).mean() / asking.shape[1]
