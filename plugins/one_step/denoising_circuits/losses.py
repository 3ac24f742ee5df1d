"""The training objective of a circuit: a chain of s recurrent steps against the points of a DDIM trajectory.

main = (L_0 + 1/s sum_k L_k) / 2   L_k = |Rout(z_k, t-k) - y_k|^2      y_0 the true v, y_k the teacher's
x0   = (X_0 + 1/s sum_k X_k) / 2   X_k = |X0out(z_k, t-k) - u_k|^2     u_0 the true x_0, u_k the teacher's
path =        1/s sum_k C_k        C_k = |z_k - z*_k|^2                z*_k = Rin(x^k, t-k), no gradient
loss = main + 5 path + 1 x0        (all means; without a chain, s = 0: main = L_0, x0 = X_0, path = 0)

Two parts of it can be trained alone: the path, and the image at the end of the chain.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from fabloom.plugins.blocks.noise import NoiseSchedule

from .networks import Circuit
from .params import Loss

Velocity = Callable[[Tensor, Tensor], Tensor]
"""v of a base for pixels [B,C,H,W] at its own times [B]."""


@dataclass(frozen=True)
class Points:
    """Targets along the chain, each a list over k = 0..s, empty where the loss needs none: latents z*, velocities and clean images."""

    z: list[Tensor] = field(default_factory=list)
    v: list[Tensor] = field(default_factory=list)
    x0: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Weights:
    """Weights of the path and the x_0 loss against the v loss, and which loss it is."""

    consistency: float = 5.0
    x0: float = 1.0
    loss: Loss = "published"


def ddim_step(schedule: NoiseSchedule, x: Tensor, v: Tensor, t: Tensor, following: Tensor) -> Tensor:
    """One deterministic DDIM step (Song et al. 2021, eta = 0) from times t to `following` of a schedule, without clipping x_0."""
    x0, noise = schedule.split_velocity(x, v, t)
    return schedule.add_noise(x0, noise, following)


@dataclass(frozen=True)
class BaseChain:
    """The DDIM chain of a base, `substeps` steps between two labels: what R should do in one.

    `schedule` has all times of the base, `times` [T] are those of the labels. With one substep it is the chain that R starts as.
    """

    velocity: Velocity
    schedule: NoiseSchedule
    times: Tensor
    substeps: int = 1

    def v(self, x: Tensor, label: Tensor) -> Tensor:
        """v at labels [B]."""
        return self.velocity(x, self.times[label])

    def clean(self, x: Tensor, label: Tensor) -> Tensor:
        """The image that the base sees in x at labels [B]."""
        return self.schedule.split_velocity(x, self.v(x, label), self.times[label])[0]

    def advance(self, x: Tensor, label: Tensor) -> Tensor:
        """x of labels [B] to x of label - 1."""
        first, last = self.times[label], self.times[label - 1]
        for step in range(self.substeps):
            at, following = (first + ((last - first) * share / self.substeps).round().long() for share in (step, step + 1))
            x = ddim_step(self.schedule, x, self.velocity(x, at), at, following)
        return x


@torch.no_grad()
def ddim_points(teacher: Circuit, schedule: NoiseSchedule, x: Tensor, t: Tensor, depth: int) -> Points:
    """The teacher's own DDIM chain from x_t, `depth` steps long, with its encodings and readouts."""
    points = Points()
    for k in range(depth + 1):
        label = t - k
        z = teacher.rin(x, label)
        points.z.append(z)
        points.v.append(teacher.v_head(z, label))
        points.x0.append(teacher.x0_head(z, label))
        if k < depth:
            x = ddim_step(schedule, x, points.v[-1], label, label - 1)
    return points


@torch.no_grad()
def base_points(teacher: Circuit, chain: BaseChain, x: Tensor, t: Tensor, depth: int, loss: Loss = "published") -> Points:
    """The chain of the base with the circuit's encodings of its points: a teacher that stands still. What a loss does not read is left out:
    each encoding costs a pass of Rin.
    """
    points = Points()
    for k in range(depth + 1):
        label = t - k
        if loss != "end":
            points.z.append(teacher.rin(x, label))
        if loss == "published":
            points.v.append(chain.v(x, label))
        if loss == "published" or (loss == "end" and k == depth):
            points.x0.append(chain.clean(x, label))
        x = chain.advance(x, label) if k < depth else x
    return points


@torch.no_grad()
def data_points(teacher: Circuit, schedule: NoiseSchedule, x0: Tensor, noise: Tensor, t: Tensor, depth: int) -> Points:
    """Targets without a chain: the same image with the same noise at the labels t-k. No gradient on either side."""
    points = Points()
    for k in range(depth + 1):
        label = t - k
        points.z.append(teacher.rin(schedule.add_noise(x0, noise, label), label))
        points.v.append(schedule.velocity(x0, noise, label))
        points.x0.append(x0)
    return points


def chain(circuit: Circuit, x: Tensor, t: Tensor, depth: int) -> list[Tensor]:
    """z_0 = Rin(x_t, t), z_{k+1} = R(z_k, t-k): latents of k = 0..depth."""
    latents = [circuit.rin(x, t)]
    for k in range(depth):
        latents.append(circuit.step(latents[-1], t - k))
    return latents


def circuit_loss(
    circuit: Circuit, points: Points | None, x0: Tensor, v: Tensor, x: Tensor, t: Tensor, depth: int, weights: Weights
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss and its parts. `points` may be None for depth 0.

    `identity` is the path loss that R = identity would reach, mean_k |z*_k - z*_0|^2: the path loss says nothing without it.
    """
    latents = chain(circuit, x, t, depth)
    steps = range(1, depth + 1)

    def mean(losses: list[Tensor]) -> Tensor:
        return torch.stack(losses).mean()

    if points is not None and depth and weights.loss == "end":
        end = mse_loss(circuit.x0_head(latents[-1], t - depth), points.x0[-1])
        return end, {"x0_end": end.detach()}
    path = {}
    if points is not None and depth:
        consistency = mean([mse_loss(latents[k], points.z[k]) for k in steps])
        path = {"path": consistency.detach(), "identity": mean([mse_loss(points.z[0], points.z[k]) for k in steps])}
        if weights.loss == "path":
            return consistency, path
    main = mse_loss(circuit.v_head(latents[0], t), v)
    clean = mse_loss(circuit.x0_head(latents[0], t), x0)
    if points is None or depth == 0:
        return main + weights.x0 * clean, {"v": main.detach(), "x0": clean.detach()}
    later_v = mean([mse_loss(circuit.v_head(latents[k], t - k), points.v[k]) for k in steps])
    later_x0 = mean([mse_loss(circuit.x0_head(latents[k], t - k), points.x0[k]) for k in steps])
    main, clean = (main + later_v) / 2, (clean + later_x0) / 2
    loss = main + weights.consistency * consistency + weights.x0 * clean
    return loss, {"v": main.detach(), "x0": clean.detach(), **path}
