"""How what is predicted is weighted and guided, and how it becomes what a scheduler wants."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .noise import NoiseSchedule, Prediction

Network = Callable[[Tensor, Tensor, Tensor | None], Tensor]
"""(x_t [B,C,H,W], t [B], class numbers [B] or None) to a prediction [B,C,H,W]."""


def loss_weights(schedule: NoiseSchedule, kind: Prediction, gamma: float | None) -> Tensor:
    """Weight of the squared error at every time, float32 [T]; ones without gamma.

    Min-SNR (Hang et al. 2023, arXiv 2303.09556): an error of x_0 weighs min(SNR, gamma), with SNR = a^2 / s^2. The error of
    n is SNR times that of x_0 and the error of v is SNR + 1 times, so their weights are divided by that.
    """
    if gamma is None:
        return torch.ones(len(schedule))
    snr = (schedule.alpha / schedule.sigma) ** 2
    capped = snr.clamp(max=gamma)
    divisor = {"sample": torch.ones_like(snr), "epsilon": snr, "v_prediction": snr + 1}[kind]
    return (capped / divisor).float()


def velocity_of(schedule: NoiseSchedule, x: Tensor, x0: Tensor, t: Tensor) -> Tensor:
    """v = (a_t x_t - x_0) / s_t: what all schedulers are given, since all of them take it and none of its factors is tiny."""
    a, s = schedule.at(t, x)
    return (a * x - x0) / s


def guided(network: Network, x: Tensor, t: Tensor, labels: Tensor | None, null: int, scale: float) -> Tensor:
    """Classifier-free guidance (Ho & Salimans 2022): u + scale (c - u), u from the class `null`, c from `labels`.

    Scale 1 is c and scale 0 is u, each in one pass; anything else runs both in one batch.
    """
    if labels is None or scale == 1:
        return network(x, t, labels)
    nothing = torch.full_like(labels, null)
    if scale == 0:
        return network(x, t, nothing)
    without, given = network(torch.cat([x, x]), torch.cat([t, t]), torch.cat([nothing, labels])).chunk(2)
    return without + scale * (given - without)
