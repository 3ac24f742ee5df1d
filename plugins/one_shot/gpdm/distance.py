"""The sliced Wasserstein distance between patches, and its gradient by the pixels, in closed form."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, fold, normalize

PLACES = 14
"""Bits of the places of projections that still leave enough for their values."""


def directions(draw: torch.Generator, count: int, channels: int, side: int) -> Tensor:
    """Random unit directions [count,channels,side,side] in the space of patches."""
    return normalize(torch.randn(count, channels * side * side, generator=draw), dim=1).reshape(count, channels, side, side)


def ranked(reference: Tensor, views: Tensor, count: int) -> Tensor:
    """Sorted projections [R,count] of the patches of an image [1,C,h,w]; of another number of patches their quantiles, linear between."""
    values = _sorted(conv2d(reference, views)[0].flatten(1))
    if values.shape[1] == count:
        return values
    at = torch.linspace(0, values.shape[1] - 1, count, dtype=torch.float64, device=values.device)
    low = at.floor().long().clamp(max=max(values.shape[1] - 2, 0))
    high = (low + 1).clamp(max=values.shape[1] - 1)
    return torch.lerp(values[:, low], values[:, high], (at - low).to(values))


def distance_and_gradient(images: Tensor, reference: Tensor, views: Tensor, *, pooled: bool = False) -> tuple[Tensor, Tensor]:
    """(distance [B], gradient [B,C,h,w] of each by its own image) of images [B,C,h,w] to reference [1,C,H,W] along views [R,C,p,p].

    distance = mean over directions and ranks k of |x_(k) - y_(k)|; a projection moves by the sign of its difference to what has its rank
    in the reference, and the gradient is what these signs weigh back in the pixels. `pooled` ranks the patches of all images together:
    there is one distance [1].
    """
    flat = conv2d(images, views).flatten(2)
    if pooled:
        flat = flat.transpose(0, 1).flatten(1)[None]
    order = _order(flat)
    apart = flat.gather(2, order) - ranked(reference, views, flat.shape[2])
    signs = torch.zeros_like(flat).scatter_(2, order, apart.sign() / (flat.shape[1] * flat.shape[2]))
    if pooled:
        signs = signs[0].unflatten(1, (len(images), -1)).transpose(0, 1)
    # a product and a fold: a seventh of the time of conv_transpose2d on a CPU
    weighed = views.flatten(1).T @ signs
    return apart.abs().mean((1, 2)), fold(weighed, images.shape[2:], views.shape[2])


def _sorted(values: Tensor) -> Tensor:
    return values.sort(-1).values if values.is_cuda else torch.from_numpy(np.sort(values.numpy(), -1))  # several times as fast


def _order(values: Tensor) -> Tensor:
    """Permutation that sorts the last axis of [...,n].

    On a CPU numbers are sorted several times as fast as their places. So a place stands in the last bits of a whole number, and the value
    in the others: values that differ by less than 2^-17 of the largest, where there are 2^14 of them, keep the order of their places.
    """
    if values.is_cuda:
        return values.argsort(-1)
    numbers = values.numpy()
    bits = max(int(numbers.shape[-1] - 1).bit_length(), 1)
    if bits > PLACES:
        return torch.from_numpy(np.argsort(numbers, -1))
    # a little below 2^(31-bits), which the largest value would else be rounded to where places need few bits, and become the smallest
    unit = 2 ** (31 - bits) * (1 - 2**-22) / max(float(np.abs(numbers).max()), np.finfo(np.float32).tiny)
    packed = (numbers * np.float32(unit)).astype(np.int32) << bits
    packed |= np.arange(numbers.shape[-1], dtype=np.int32)
    packed.sort(-1)
    return torch.from_numpy((packed & ((1 << bits) - 1)).astype(np.int64))
