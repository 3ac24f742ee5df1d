"""Large images through a network: tiles that overlap, blended so that they do not show."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor


def tiled(predict: Callable[[Tensor], Tensor], x: Tensor, tile: int, overlap: int) -> Tensor:
    """What `predict` gives of x [B,C,H,W], [B,...,H,W]: at once where x fits into a tile, else from tiles that overlap, blended by a ramp
    to their edges.
    """
    height, width = x.shape[-2:]
    if height <= tile and width <= tile:
        return predict(x)
    total, weight = x.new_zeros(()), x.new_zeros((height, width))
    for top, left in places(height, width, tile, overlap):
        part = predict(x[..., top : top + tile, left : left + tile])
        if not total.ndim:
            total = part.new_zeros((*part.shape[:-2], height, width))
        ramp = torch.minimum(_ramp(part.shape[-2], overlap)[:, None], _ramp(part.shape[-1], overlap)[None]).to(x)
        total[..., top : top + tile, left : left + tile] += part * ramp
        weight[top : top + tile, left : left + tile] += ramp
    return total.div_(weight)


def places(height: int, width: int, tile: int, overlap: int) -> Iterator[tuple[int, int]]:
    """Upper left corners of tiles that cover an image, the last of a row or column moved back to its edge."""
    starts = [
        [*range(0, max(length - tile, 0), tile - overlap), max(length - tile, 0)] for length in (height, width)
    ]  # the last one lies at the far edge
    yield from ((top, left) for top in starts[0] for left in starts[1])


def _ramp(length: int, overlap: int) -> Tensor:
    """Weights that rise from each end over the overlap; never 0, since a tile may be alone there."""
    at = torch.arange(length, dtype=torch.float32)
    return torch.minimum(at, length - 1 - at).add(1).div(overlap + 1).clamp(max=1)
