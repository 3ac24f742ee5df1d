"""Streams of random numbers that follow from a seed and a name, or from a seed and the number of a sample."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def stream(seed: int, name: str) -> torch.Generator:
    """A CPU generator that follows from the seed and a name."""
    digest = hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)


def numpy_stream(seed: int, name: str) -> np.random.Generator:
    """A NumPy generator that follows from the seed and a name."""
    return np.random.default_rng(stream(seed, name).initial_seed())


def rank(seed: int, name: str) -> bytes:
    """What to sort names by for an order that follows from the seed and the names alone, so that a new one moves few others."""
    return hashlib.blake2b(f"{seed}/{name}".encode()).digest()


def streams(seed: int, numbers: range) -> list[torch.Generator]:
    """One generator for each sample, from the seed and the sample's number, so that batches do not matter."""
    return [stream(seed, f"sample/{number}") for number in numbers]


def normal(sources: Sequence[torch.Generator], shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Standard normal noise [B,*shape], row b from its own generator."""
    return torch.stack([torch.randn(shape, generator=source) for source in sources]).to(device)
