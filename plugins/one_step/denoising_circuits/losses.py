"""The training objective of a circuit: a chain of s recurrent steps against the encodings of a DDIM trajectory.

main = (L_0 + 1/s sum_k L_k) / 2   L_k = |Rout(z_k, t-k) - y_k|^2      y_0 the true v, y_k the teacher's
x0   = (X_0 + 1/s sum_k X_k) / 2   X_k = |X0out(z_k, t-k) - u_k|^2     u_0 the true x_0, u_k the teacher's
cons =        1/s sum_k C_k        C_k = |z_k - z*_k|^2                z*_k = Rin(x^k, t-k), no gradient
loss = main + 5 cons + 1 x0        (all means; without a chain, s = 0: main = L_0, x0 = X_0, cons = 0)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from fabloom.plugins.blocks.noise import NoiseSchedule

from .networks import Circuit


@dataclass(frozen=True)
class Points:
    """Targets along the chain, each a list over k = 0..s: latents z*, velocities and clean images."""

    z: list[Tensor]
    v: list[Tensor]
    x0: list[Tensor]


@dataclass(frozen=True)
class Weights:
    """Weights of the consistency and the x_0 loss against the v loss; `end_only` leaves X_s alone, the image at the chain's end."""

    consistency: float = 5.0
    x0: float = 1.0
    end_only: bool = False


def ddim_step(schedule: NoiseSchedule, x: Tensor, v: Tensor, t: Tensor) -> Tensor:
    """One deterministic DDIM step (Song et al. 2021, eta = 0) from label t to t-1, without clipping x_0."""
    x0, noise = schedule.split_velocity(x, v, t)
    return schedule.add_noise(x0, noise, t - 1)


@torch.no_grad()
def ddim_points(teacher: Circuit, schedule: NoiseSchedule, x: Tensor, t: Tensor, depth: int) -> Points:
    """The teacher's own DDIM chain from x_t, `depth` steps long, with its encodings and readouts."""
    points = Points([], [], [])
    for k in range(depth + 1):
        label = t - k
        z = teacher.rin(x, label)
        points.z.append(z)
        points.v.append(teacher.v_head(z, label))
        points.x0.append(teacher.x0_head(z, label))
        if k < depth:
            x = ddim_step(schedule, x, points.v[-1], label)
    return points


@torch.no_grad()
def base_points(
    teacher: Circuit, velocity: Callable[[Tensor, Tensor], Tensor], schedule: NoiseSchedule, x: Tensor, t: Tensor, depth: int,
    encoded: bool = True,
) -> Points:  # fmt: skip
    """The DDIM chain of the base, v = velocity(x, t), with the circuit's encodings of its points: a teacher that stands still.

    Without `encoded` there are none: a loss on the end alone reads no latent, and each costs a pass of Rin.
    """
    points = Points([], [], [])
    for k in range(depth + 1):
        label = t - k
        v = velocity(x, label)
        if encoded:
            points.z.append(teacher.rin(x, label))
        points.v.append(v)
        points.x0.append(schedule.split_velocity(x, v, label)[0])
        x = ddim_step(schedule, x, v, label) if k < depth else x
    return points


@torch.no_grad()
def data_points(teacher: Circuit, schedule: NoiseSchedule, x0: Tensor, noise: Tensor, t: Tensor, depth: int) -> Points:
    """Targets without a chain: the same image with the same noise at the labels t-k. No gradient on either side."""
    points = Points([], [], [])
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

    `identity` is the consistency that R = identity would reach, mean_k |z*_k - z*_0|^2: the consistency says nothing without it.
    """
    latents = chain(circuit, x, t, depth)
    if weights.end_only and points is not None:
        end = mse_loss(circuit.x0_head(latents[-1], t - depth), points.x0[-1])
        return end, {"x0_end": end.detach()}
    main = mse_loss(circuit.v_head(latents[0], t), v)
    clean = mse_loss(circuit.x0_head(latents[0], t), x0)
    if points is None or depth == 0:
        return main + weights.x0 * clean, {"v": main.detach(), "x0": clean.detach()}
    steps = range(1, depth + 1)
    later_v = sum((mse_loss(circuit.v_head(latents[k], t - k), points.v[k]) for k in steps), torch.zeros((), device=x.device)) / depth
    later_x0 = sum((mse_loss(circuit.x0_head(latents[k], t - k), points.x0[k]) for k in steps), torch.zeros((), device=x.device)) / depth
    consistency = sum((mse_loss(latents[k], points.z[k]) for k in steps), torch.zeros((), device=x.device)) / depth
    identity = sum((mse_loss(points.z[0], points.z[k]) for k in steps), torch.zeros((), device=x.device)) / depth
    main, clean = (main + later_v) / 2, (clean + later_x0) / 2
    loss = main + weights.consistency * consistency + weights.x0 * clean
    return loss, {"v": main.detach(), "x0": clean.detach(), "consistency": consistency.detach(), "identity": identity}
