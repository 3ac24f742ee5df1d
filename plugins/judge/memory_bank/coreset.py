"""A few patches that stand for all: greedy k-centre (Gonzalez 1985; Sener & Savarese 2018) on a random projection."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

DIMENSIONS = 64
"""Features are projected to so many by a random matrix, which keeps distances nearly (Johnson & Lindenstrauss 1984)."""


def projected(features: Tensor, draw: torch.Generator, dimensions: int = DIMENSIONS) -> Tensor:
    """Features [N,D] times a Gaussian matrix, [N,dimensions]; as they are where they have no more."""
    if features.shape[1] <= dimensions:
        return features
    matrix = torch.randn(features.shape[1], dimensions, generator=draw) / dimensions**0.5
    found: Tensor = features @ matrix
    return found


def centres(features: Tensor, count: int, draw: torch.Generator, advance: Callable[[], None] = lambda: None) -> Tensor:
    """Rows [count] of features [N,D], each the farthest from those before it, the first drawn; fewer where the rest are copies.

    No choice of as many rows has a largest distance of a row to its nearest one below half of what this has.
    """
    count = min(count, len(features))
    chosen = [int(torch.randint(len(features), (), generator=draw))]
    squares = features.square().sum(1)
    nearest = torch.full((len(features),), torch.inf)
    for _ in range(count - 1):
        last = chosen[-1]
        torch.minimum(nearest, squares + squares[last] - 2 * (features @ features[last]), out=nearest)
        nearest[last] = 0
        farthest = int(nearest.argmax())
        if nearest[farthest] <= 1e-6 * squares[farthest] + 1e-12:  # rounding of the squares
            break
        chosen.append(farthest)
        advance()
    return torch.tensor(chosen)


def cover(features: Tensor, rows: Tensor) -> float:
    """The largest distance of a feature [N,D] to the nearest of some rows."""
    return float(torch.cdist(features, features[rows]).min(1).values.max())
