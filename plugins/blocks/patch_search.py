"""Exact nearest patches without the matrix of all distances, and images out of overlapping patches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import fold, unfold

from .pyramid import Size

BLOCK = 2**20
"""Distances that are held at once; 4 MiB stay in a processor's cache."""
SPREAD = 1.7
"""Standard deviation in pixels of the Gaussian weights of a patch."""
Reduce = Literal["mean", "gauss"]


def patches(image: Tensor, side: int) -> Tensor:
    """All patches [P,C*side*side] of an image [1,C,h,w], row by row."""
    return unfold(image, side)[0].T.contiguous()


@dataclass(frozen=True)
class Keys:
    """Patches that are searched. Of equal ones the first is found, whatever the order of the arithmetic.

    `rows` [K,d] are the different patches less their mean, `lengths` [K] their squared lengths, `first` [K] where each occurs first.
    """

    rows: Tensor
    lengths: Tensor
    first: Tensor
    middle: Tensor

    @classmethod
    def of(cls, given: Tensor) -> Self:
        """From patches [P,d]. Distances do not change by the mean patch being taken off, and cancel less."""
        plain = np.ascontiguousarray(given.detach().cpu().numpy())
        _, first = np.unique(plain.view(np.dtype((np.void, plain.dtype.itemsize * plain.shape[1])))[:, 0], return_index=True)
        order = torch.from_numpy(np.sort(first))
        middle = given.mean(0)
        rows = given[order.to(given.device)] - middle
        return cls(rows, rows.square().sum(1), order, middle)

    def nearest(self, queries: Tensor, alpha: float | None) -> Tensor:
        """Index [N] among the given patches of the one that is nearest to each of queries [N,d].

        Nearest is by the mean squared difference D_ij, or by D_ij / (alpha + min_l D_lj), which favours patches that are far from all
        queries, so that none is left out (Granot et al. 2022, eq. 2). Two passes over blocks of rows, memory O(N + K).
        """
        asked = queries - self.middle
        lengths, d = asked.square().sum(1, keepdim=True), queries.shape[1]
        per = max(BLOCK // len(self.rows), 1)
        room = asked.new_empty((min(per, len(asked)), len(self.rows)))  # new memory for every block costs as much as the product
        weight = torch.ones_like(self.lengths)
        if alpha is not None:
            least = torch.full_like(self.lengths, torch.inf)
            across = self.rows.T.contiguous()
            for rows, own in zip(asked.split(per), lengths.split(per), strict=True):
                torch.minimum(least, torch.addmm(own, rows, across, alpha=-2, out=room[: len(rows)]).amin(0), out=least)
            weight = 1 / (alpha + (least + self.lengths).clamp(min=0) / d)
        # D_ij w_j = [q_i, |q_i|^2, 1] . [-2 w_j k_j, w_j, w_j |k_j|^2] / d: one product, nothing between it and the search
        scaled = torch.cat([-2 * weight * self.rows.T, weight[None], (weight * self.lengths)[None]])
        wide = torch.cat([asked, lengths, torch.ones_like(lengths)], 1)
        found = [_argmin(torch.mm(rows, scaled, out=room[: len(rows)])) for rows in wide.split(per)]
        return self.first[torch.cat(found)]


def _argmin(scores: Tensor) -> Tensor:
    """The first smallest of each row, on the CPU."""
    if scores.is_cuda:
        return scores.argmin(1).cpu()
    return torch.from_numpy(scores.numpy().argmin(1))  # numpy searches with vector instructions


def weights(side: int, reduce: Reduce) -> Tensor:
    """What each pixel of a patch counts [side*side] where patches overlap."""
    if reduce == "mean":
        return torch.ones(side * side)
    away = torch.arange(side) - (side - 1) / 2
    line = torch.exp(-away.square() / (2 * SPREAD**2))
    return torch.outer(line, line).flatten()


def overlapped(rows: Tensor, size: Size, side: int, weight: Tensor) -> Tensor:
    """The image [1,C,*size] whose patches are rows [P,C*side*side]: where they overlap their weighted mean."""
    channels = rows.shape[1] // side**2
    kept = weight.repeat(channels).to(rows)
    whole = fold((rows * kept).T[None] if kept.min() < kept.max() else rows.T[None], size, side)
    return whole / fold(weight.to(rows)[:, None].expand(-1, len(rows))[None], size, side)
