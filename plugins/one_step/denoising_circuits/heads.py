"""What each head of a student is worth: how well it predicts its part, how much of the image's gradient reaches it, what its errors do."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from fabloom.kinds import Table

from .networks import Circuit
from .recording import trajectory
from .recurrence import boundaries, labels, readout
from .student import OneStep

COLUMNS = ("part", "R^2 to the recurrence's", "share of the image's gradient", "error of the image after 5 % noise in it")
NOISE = 0.05
"""Deviation of the noise that a part is given, as a share of that part's own."""


def table(net: OneStep, circuit: Circuit, x: Tensor, draw: torch.Generator) -> Table:
    """A row for the start and each chunk, from x_T [B,C,H,W] on the device, B at least 2.

    R^2: 1 - error / variance about the mean over samples; none for a part that does not vary. Gradient: norm over the weights of the
    part's head, of the squared error of the image, as a share of all heads'. Noise: mean square change of the image over its variance.
    """
    at = labels(circuit.config.timesteps)
    with torch.no_grad():
        start, chunks, end = trajectory(circuit, x, at, boundaries(len(at), net.student.chunks))
        wanted, image = torch.cat([start[:, None], chunks], 1), readout(circuit, end)
        found = net.student(x)
        read = net.read(found)
        variance = image.var(0).mean().clamp(min=1e-12)
        changed = [mse_loss(net.read(disturbed(found, part, draw)), read) / variance for part in range(found.shape[1])]
    shares = gradients(net, x, image)
    names = ["start", *(f"chunk {number}" for number in range(1, found.shape[1]))]
    rows = [
        (name, explained(found[:, part], wanted[:, part]), shares[part], float(changed[part])) for part, name in enumerate(names)
    ]  # fmt: skip
    return Table(COLUMNS, rows)


def explained(found: Tensor, wanted: Tensor) -> float | None:
    """R^2 of a part [B,L,h,w]."""
    variance = float((wanted - wanted.mean(0)).square().mean())
    return 1 - float(mse_loss(found, wanted)) / variance if variance > 1e-9 else None


def disturbed(parts: Tensor, part: int, draw: torch.Generator) -> Tensor:
    """Parts [B,1+K,L,h,w] with noise in one of them."""
    noise = torch.randn(parts[:, part].shape, generator=draw).to(parts) * parts[:, part].std() * NOISE
    changed = parts.clone()
    changed[:, part] += noise
    return changed


def gradients(net: OneStep, x: Tensor, image: Tensor) -> list[float]:
    """Share of the gradient norm of the image's squared error that each head's weights have. The network is left as it was."""
    heads = [net.student.rin_head, *net.student.chunk_heads]
    weights = [[] if head is None else list(head.parameters()) for head in heads]
    flat = [weight for group in weights for weight in group]
    wanted = [weight.requires_grad for weight in flat]
    for weight in flat:
        weight.requires_grad_(True)
    loss = mse_loss(net(x), image)
    found = iter(torch.autograd.grad(loss, flat, allow_unused=True))
    for weight, was in zip(flat, wanted, strict=True):
        weight.requires_grad_(was)
    norms = [sum(float(g.square().sum()) for _ in group if (g := next(found)) is not None) ** 0.5 for group in weights]
    whole = sum(norms)
    return [norm / whole if whole else 0.0 for norm in norms]


@torch.no_grad()
def mixed(net: OneStep, x: Tensor) -> Tensor:
    """Images whose start is their own and whose chunks are all another sample's."""
    parts = net.student(x)
    images: Tensor = net.read(torch.cat([parts[:, :1], parts[:, 1:].roll(1, 0)], 1))
    return images
