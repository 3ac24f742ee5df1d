"""The straight path from a defect's change u (t = 0) to white noise z (t = 1), and the way back.

x_t = (1 - t) u + t z (rectified flow: Liu et al. 2023; SinSEMI's bridge without its own noise). With d = (1 - t)^2 + t^2, the variance of
x_t where u has that of z, the network is given x_t / sqrt(d) and predicts f = (t u - (1 - t) z) / sqrt(d), so that its input and what it
must find have unit variance at all times (the velocity of Salimans & Ho 2022 on this path; preconditioning of Karras et al. 2022). It
stands for u = ((1 - t) x_t + t sqrt(d) f) / d.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

TIME_UNIT = 1000.0
"""Factor of t before the network's embedding, which was made for the steps of a diffusion."""
Network = Callable[[Tensor, Tensor], Tensor]
"""(x_t / sqrt(d) [B,C,H,W], t [B]) to f [B,C,H,W]."""


def variance(t: Tensor) -> Tensor:
    """d, the variance of x_t."""
    return (1 - t).square() + t.square()


def point(u: Tensor, z: Tensor, t: Tensor) -> Tensor:
    """x_t / sqrt(d), what the network is given; `t` broadcasts over the windows."""
    return ((1 - t) * u + t * z) / variance(t).sqrt()


def target(u: Tensor, z: Tensor, t: Tensor) -> Tensor:
    """f, what it shall find."""
    return (t * u - (1 - t) * z) / variance(t).sqrt()


def times(steps: int) -> Tensor:
    """t_0 = 1 > ... > t_steps = 0, float32 [steps + 1]; squared, since fine detail is decided near 0."""
    return torch.linspace(1, 0, steps + 1, dtype=torch.float64).square().float()


def ruler(t: Tensor) -> Tensor:
    """Logarithm of the share of u over that of the noise."""
    return ((1 - t) / t).log()


@torch.no_grad()
def solve(network: Network, z: Tensor, steps: int, limit: float) -> Tensor:
    """u from noise z [B,C,H,W]: the flow, exact for a constant u, which is carried on linearly from the last two (DPM-Solver++ 2M, Lu et
    al. 2022). Predictions of u are kept within +-limit.
    """
    x, last = z, None
    for now, to in pairwise(times(steps).to(z.device)):
        d = variance(now)
        found = network(x / d.sqrt(), now.expand(len(x)))
        clean = (((1 - now) * x + now * d.sqrt() * found) / d).clamp(-limit, limit)
        carried = clean
        if last is not None and to > 0:
            before, since = last
            carried = clean + (ruler(to) - ruler(now)) / (2 * (ruler(now) - ruler(since))) * (clean - before)
        last = (clean, now) if now < 1 else None
        x = (1 - to) * carried + to / now * (x - (1 - now) * carried)
    return x
