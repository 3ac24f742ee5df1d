"""Sampling by the recurrence, from noise that depends on a seed and an index only."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .networks import Circuit

SEED_BYTES = 8


def starting_noise(seed: int, indices: Sequence[int], shape: tuple[int, int, int]) -> Tensor:
    """x_T of the samples `indices`, float32 [B,C,H,W] rounded to float16 values: what is stored is what is run.

    Each sample has its own generator, so batches, order and restarts change nothing.
    """
    rows = []
    for index in indices:
        digest = hashlib.blake2b(f"x_T/{seed}/{index}".encode(), digest_size=SEED_BYTES).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
        rows.append(torch.randn(shape, generator=generator))
    return torch.stack(rows).half().float()


def labels(timesteps: int, apply_t0: bool = False) -> list[int]:
    """Labels that R is applied at, T-1 down to 1: those that training covers. `apply_t0` adds the untrained label 0."""
    return list(range(timesteps - 1, -1 if apply_t0 else 0, -1))


def boundaries(steps: int, chunks: int) -> list[int]:
    """Steps done at the end of each of K chunks, round(i steps / K), preceded by 0. Raises ValueError for an empty chunk."""
    if chunks > steps:
        raise ValueError(f"{chunks} chunks of {steps} recurrent steps: a chunk needs at least one step")
    return [round(i * steps / chunks) for i in range(chunks + 1)]


@torch.no_grad()
def run(circuit: Circuit, x: Tensor, at: Sequence[int], visit: Callable[[int, Tensor], None] | None = None) -> Tensor:
    """z at the end of the recurrence from x_T [B,C,H,W]. `visit(n, z)` sees z after n steps, n = 0 (Rin) to len(at)."""
    full = torch.full((len(x),), circuit.config.timesteps - 1, device=x.device)
    z: Tensor = circuit.rin(x, full)
    if visit is not None:
        visit(0, z)
    for done, label in enumerate(at, start=1):
        z = circuit.step(z, torch.full_like(full, label))
        if visit is not None:
            visit(done, z)
    return z


def readout(circuit: Circuit, z: Tensor) -> Tensor:
    """X0out(z, 0), not clipped, [B,C,H,W] float32."""
    image: Tensor = circuit.x0_head(z, torch.zeros(len(z), dtype=torch.long, device=z.device))
    return image
