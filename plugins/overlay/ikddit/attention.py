"""Attention, and the plain layers of the encoders of conditions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

HEAD = 32
"""Width of a head of the plain layers."""


class Attention(nn.Module):
    """Of tokens [B,N,width] among each other, or to others [B,K,other]."""

    def __init__(self, width: int, heads: int, other: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.both = nn.Linear(other or width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, other: Tensor | None = None) -> Tensor:
        """[B,N,width]."""
        q = self._apart(self.query(x))
        k, v = (self._apart(part) for part in self.both(x if other is None else other).chunk(2, -1))
        found: Tensor = self.out(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return found

    def _apart(self, x: Tensor) -> Tensor:
        apart: Tensor = x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return apart


def mlp(width: int, times: int = 4) -> nn.Sequential:
    """The layers behind an attention."""
    return nn.Sequential(nn.Linear(width, times * width), nn.GELU(approximate="tanh"), nn.Linear(times * width, width))


class Layer(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, max(1, width // HEAD))
        self.mlp = mlp(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        """[B,N,width]."""
        x = x + self.attention(self.first(x))
        out: Tensor = x + self.mlp(self.second(x))
        return out


class Pooling(nn.Module):
    """So many tokens of many, by attention of learned queries."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.randn(count, width))
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, max(1, width // HEAD))

    def forward(self, x: Tensor) -> Tensor:
        """[B,count,width]."""
        queries = self.queries.expand(x.shape[0], -1, -1)
        out: Tensor = self.attention(queries, self.norm(x))
        return out
