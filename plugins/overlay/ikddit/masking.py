"""Which patches a network sees: drawn, gathered, scattered, and taken in turn while sampling."""

from __future__ import annotations

import torch
from torch import Tensor


def kept_count(tokens: int, ratio: float) -> int:
    """How many of so many tokens are seen at this mask ratio, at least one."""
    return max(1, tokens - round(ratio * tokens))


def drawn(batch: int, tokens: int, ratio: float, draw: torch.Generator) -> Tensor | None:
    """Numbers of the tokens that are seen, rising [B,V], others for each map; None where all are."""
    count = kept_count(tokens, ratio)
    if count == tokens:
        return None
    return torch.rand(batch, tokens, generator=draw).argsort(1)[:, :count].sort(1).values


def gathered(x: Tensor, seen: Tensor | None) -> Tensor:
    """Tokens [B,N,d] that are seen, [B,V,d]."""
    return x if seen is None else x.gather(1, seen[..., None].expand(-1, -1, x.shape[-1]))


def scattered(x: Tensor, seen: Tensor | None, holes: Tensor) -> Tensor:
    """Tokens [B,V,d] back in their places among `holes` [B,N,d]."""
    return x if seen is None else holes.scatter(1, seen[..., None].expand(-1, -1, x.shape[-1]), x)


def visible(seen: Tensor | None, batch: int, tokens: int) -> Tensor:
    """[B,N], True where a token is seen."""
    if seen is None:
        return torch.ones(batch, tokens, dtype=torch.bool)
    return torch.zeros(batch, tokens, dtype=torch.bool, device=seen.device).scatter(1, seen, True)


def turns(tokens: int, ratio: float, draw: torch.Generator) -> list[Tensor]:
    """Sets of tokens [V] that together see each once: a random order cut into equal parts, the last filled up from the first.

    At a ratio of a half they are a set and its complement.
    """
    order, count = torch.randperm(tokens, generator=draw), kept_count(tokens, ratio)
    parts = [order[start : start + count] for start in range(0, tokens, count)]
    parts[-1] = torch.cat([parts[-1], order[: count - len(parts[-1])]])
    return [part.sort().values for part in parts]
