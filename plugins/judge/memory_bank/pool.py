"""All clean patches, how far alike ones differ, and the few that a bank keeps of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from .bank import Bank, squared
from .coreset import centres, projected

ROOM = 2**26
"""Values of features that are held at once."""
QUERIES, CANDIDATES = 512, 2**15
"""Patches whose nearest one in another image is looked up, and among how many, to learn the scale of each feature."""
GREEDY = 2**16
"""Patches, drawn, among which those of a bank are chosen that is searched as a whole."""
FLOOR = 0.1
"""Least scale of a feature as a share of its deviation over all patches: alike ones may be equal."""


@dataclass(frozen=True)
class Pool:
    """Patches of clean images: features [N,D], the number [N] of the image that each is of, its place [N,2] in pixels if registered."""

    features: Tensor
    image: Tensor
    places: Tensor | None

    def __len__(self) -> int:
        return len(self.image)

    def of(self, rows: Tensor) -> Pool:
        """Some of the patches."""
        return Pool(self.features[rows], self.image[rows], None if self.places is None else self.places[rows])

    def weights(self, radius: float, draw: torch.Generator) -> Tensor:
        """One over the scale of each feature [D], so that a distance is the root mean square of differences in units of what is usual.

        The scale is the deviation between patches that are alike: of each of some patches the nearest one in another image, at the
        same place where images are registered.
        """
        spread = self.features.std(0)
        flat = spread <= 1e-6 * spread.max().clamp(min=1e-12)
        plain = torch.where(flat, 0.0, 1 / spread.clamp(min=1e-12))
        order = torch.randperm(len(self), generator=draw)
        asked, others = self.of(order[:QUERIES]), self.of(order[-CANDIDATES:])
        gaps = squared(asked.features * plain, others.features * plain)
        gaps.masked_fill_(asked.image[:, None] == others.image, torch.inf)
        if asked.places is not None and others.places is not None:
            gaps.masked_fill_((asked.places[:, None] - others.places).abs().amax(2) > radius, torch.inf)
        best = gaps.min(1)
        known = best.values.isfinite()
        apart = (asked.features - others.features[best.indices])[known]
        usual = (apart.square().mean(0) / 2).sqrt() if known.any() else spread
        least = spread.median().clamp(min=1e-12)
        scale: Tensor = torch.maximum(usual, FLOOR * spread).clamp(min=float(FLOOR * least)) * spread.numel() ** 0.5
        return scale.reciprocal()

    def bank(self, share: float, most: int, radius: float, side: float, draw: torch.Generator, advance: Callable[[], None]) -> Bank:
        """A bank of a share of these patches, `most` at most; of registered ones that share at each place, and one at least.

        Places are squares with a side of `radius`, so that all entries of a square are of the same place for a patch in it.
        """
        if self.places is None:
            some = self if len(self) <= GREEDY else self.of(torch.randperm(len(self), generator=draw)[:GREEDY])
            count = max(1, min(most, round(share * len(self))))
            kept = some.of(centres(projected(some.features, draw), count, draw, advance))
            return Bank(kept.features, None, radius)
        flat = projected(self.features, draw)
        squares = (self.places / max(radius, side)).floor().long()
        _, number = squares.unique(dim=0, return_inverse=True)
        parts = number.argsort(stable=True).split(number.bincount().tolist())
        rows = [part[centres(flat[part], max(1, round(share * len(part))), draw, advance)] for part in parts]
        kept = self.of(torch.cat(rows))
        return Bank(kept.features, kept.places, radius)
