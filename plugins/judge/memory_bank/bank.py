"""The bank: patches of clean images, and the distance of other patches from the nearest of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BLOCK = 8
"""Cells a side of the squares of a grid that are looked up together."""
CELLS = 2**24
"""Distances that are held at once."""


@dataclass(frozen=True)
class Bank:
    """Entries [M,D], divided by the scale of each feature; `places` [M,2] (row, column) in pixels of registered images, else None.

    `radius`: how far away, in pixels each way, a place counts as the same.
    """

    entries: Tensor
    places: Tensor | None
    radius: float

    def distances(self, features: Tensor, places: Tensor | None) -> Tensor:
        """Distances [h,w] of scaled features [h,w,D] at places [h,w,2] in the bank's pixels; None: the whole bank is searched."""
        if self.places is None or places is None:
            return nearest(features.flatten(0, 1), self.entries).reshape(features.shape[:2])
        found = torch.empty(features.shape[:2])
        for top in range(0, features.shape[0], BLOCK):
            for left in range(0, features.shape[1], BLOCK):
                box = slice(top, top + BLOCK), slice(left, left + BLOCK)
                part = features[box]
                found[box] = self._near(part.flatten(0, 1), places[box].flatten(0, 1)).reshape(part.shape[:2])
        return found

    def _near(self, features: Tensor, places: Tensor) -> Tensor:
        """Distances [n] to the nearest entry of the same place; where the bank has none of it, to the nearest of all."""
        assert self.places is not None
        low, high = places.amin(0) - self.radius, places.amax(0) + self.radius
        around = ((self.places >= low) & (self.places <= high)).all(1)
        apart = (places[:, None] - self.places[around]).abs().amax(2) > self.radius
        gaps = squared(features, self.entries[around]).masked_fill(apart, torch.inf)
        best = gaps.amin(1) if gaps.shape[1] else torch.full((len(features),), torch.inf)
        unknown = best.isinf()
        found = best.clamp(min=0).sqrt()
        if unknown.any():
            found[unknown] = nearest(features[unknown], self.entries)
        return found


def squared(features: Tensor, entries: Tensor) -> Tensor:
    """Squared distances [n,M]; rounding may leave them slightly below 0."""
    return torch.addmm(entries.square().sum(1), features, entries.T, alpha=-2) + features.square().sum(1, keepdim=True)


def nearest(features: Tensor, entries: Tensor) -> Tensor:
    """Distance [n] of each feature [n,D] to the nearest entry [M,D]."""
    rows = max(1, CELLS // max(len(entries), 1))
    parts = [squared(part, entries).amin(1) for part in features.split(rows)]
    return torch.cat(parts).clamp(min=0).sqrt()
