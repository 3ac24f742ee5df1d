"""The flow and the loss of MeanFlow (Geng et al. 2025, arXiv 2505.13447), for any network u(z, r, t).

z_t = (1 - t) x + t e with the velocity v = e - x. The average velocity u(z_t, r, t) is that of the flow between r and t, so that
z_r = z_t - (t - r) u, and d/dt of (t - r) u along the flow is v: u = v - (t - r) (v d_z u + d_t u).
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

Network = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(z [B,...], r [B], t [B]) to the average velocity [B,...]."""
SOFT = 1e-3
"""Added to the squared error of an image before it divides."""


def times(count: int, instant: int, mean: float, deviation: float, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """(r, t), each [count] in (0, 1) with r <= t, the first `instant` of them equal: the larger and the smaller of two draws."""
    pair = torch.sigmoid(mean + deviation * torch.randn(2, count, generator=draw))
    t, r = pair.max(0).values, pair.min(0).values
    return torch.where(torch.arange(count) < instant, t, r), t


def errors(network: Network, x: Tensor, noise: Tensor, r: Tensor, t: Tensor) -> Tensor:
    """Squared error of u to its target [B], summed over the image [B,...]. The target is held fixed.

    Where r = t the target is v itself, and no derivative is taken: that of a forward pass by z and t costs several passes.
    """
    at = t.reshape(-1, *[1] * (x.ndim - 1))
    z, v = (1 - at) * x + at * noise, noise - x
    apart = r < t
    out: list[Tensor] = []
    if not apart.all():
        same = ~apart
        out.append(_squared(network(z[same], r[same], t[same]) - v[same]))
    if apart.any():
        u, change = with_derivative(network, z[apart], r[apart], t[apart], v[apart])
        gap = (t - r)[apart].reshape(-1, *[1] * (x.ndim - 1))
        out.append(_squared(u - (v[apart] - gap * change).detach()))
    order = torch.cat([torch.nonzero(~apart)[:, 0], torch.nonzero(apart)[:, 0]])
    return torch.cat(out)[torch.argsort(order)]


def with_derivative(network: Network, z: Tensor, r: Tensor, t: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """u(z, r, t) and d/dt of it along the flow, v d_z u + d_t u, exact, in one pass of forward-mode differentiation."""
    with sdpa_kernel(SDPBackend.MATH):  # the other kernels have no forward-mode derivative
        u, change, *_ = torch.func.jvp(network, (z, r, t), (v, torch.zeros_like(r), torch.ones_like(t)))
    return u, change


def weighted(error: Tensor, power: float) -> Tensor:
    """Mean of the errors [B], each divided by (error + 1e-3)^power, which is held fixed."""
    return (error / (error.detach() + SOFT) ** power).mean()


@torch.no_grad()
def generate(network: Network, noise: Tensor, steps: int) -> Tensor:
    """From noise [B,...] at t = 1 to t = 0 in equal steps; one gives e - u(e, 0, 1)."""
    z = noise
    for t, r in pairwise(torch.linspace(1, 0, steps + 1).tolist()):
        z = z - (t - r) * network(z, torch.full((len(z),), r, device=z.device), torch.full((len(z),), t, device=z.device))
    return z


def _squared(gap: Tensor) -> Tensor:
    return gap.float().square().flatten(1).sum(1)
