"""The bridge between a clean image x0 (t = 0) and its degraded form x1 (t = 1): path, velocity, and what a prediction stands for.

Gaussian Schroedinger-bridge path (Tong et al. 2023; SinSEMI eq. 1): x_t = (1-t) x0 + t x1 + sigma sqrt(t (1-t)) z.
At scales s >= 1 the end x1 is known (the upsampled previous scale). At s = 0 it is white noise that nobody keeps, so that
x_t | x0 is normal with mean (1-t) x0 and variance w(t) = t^2 + sigma^2 t (1-t). Below, `x1=None` stands for that case.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

LARGEST_FACTOR = 2.0
"""Bound of |c(t)|, the factor of sigma z in the velocity, which is infinite at t = 0 and 1."""
SOFTENED = 0.01
"""Added to the denominator of c(t) as published."""
EDGE = 0.05
"""Within this distance of an end of [0, 1] the bound is active: there z cannot be read from x_t."""

Clamp = Literal["signed", "positive"]
Prediction = Literal["velocity", "drift"]


@dataclass(frozen=True)
class Bridge:
    """sigma is the noise of the path, 0.35 as published."""

    sigma: float = 0.35

    def point(self, x0: Tensor, x1: Tensor, t: Tensor, z: Tensor) -> Tensor:
        """x_t on the path; `t` broadcasts over the images."""
        return (1 - t) * x0 + t * x1 + self.sigma * (t * (1 - t)).sqrt() * z

    def velocity(self, x0: Tensor, x1: Tensor, t: Tensor, z: Tensor, clamp: Clamp = "signed") -> Tensor:
        """u_t = x1 - x0 + sigma c(t) z with |c| <= 2, the target of the published network.

        `signed` keeps the sign of c; `positive` is the published code's +2 wherever |c| > 2, wrong for t > 0.948.
        """
        factor = (1 - 2 * t) / (2 * (t * (1 - t)).sqrt() + SOFTENED)
        bounded = factor.clamp(-LARGEST_FACTOR, LARGEST_FACTOR)
        if clamp == "positive":
            bounded = torch.where(factor.abs() > LARGEST_FACTOR, LARGEST_FACTOR, factor)
        return x1 - x0 + self.sigma * bounded * z

    def variance(self, t: Tensor) -> Tensor:
        """w(t), the variance of x_t given x0 where x1 is white noise."""
        return t * t + self.sigma**2 * t * (1 - t)

    def growth(self, t: Tensor) -> Tensor:
        """w'(t) / (2 w(t)): by which factor the noise grows."""
        return (2 * t + self.sigma**2 * (1 - 2 * t)) / (2 * self.variance(t))

    def clean(self, kind: Prediction, out: Tensor, x: Tensor, t: Tensor, x1: Tensor | None) -> Tensor:
        """The x0 that a network's output at x_t = `x` stands for.

        `drift` is F = (x_t - x0) / t, the drift of the reverse Brownian bridge. For `velocity` near t = 1 with a known end,
        where z cannot be read from x_t, x0 = x1 - v.
        """
        if kind == "drift":
            return x - t * out
        if x1 is None:
            growth = self.growth(t)
            return (growth * x - out) / (1 + growth * (1 - t))
        inside = ((1 - 2 * t) * x + t * x1) / (1 - t).clamp(min=EDGE) - 2 * t * out
        return torch.where(t > 1 - EDGE, x1 - out, inside)

    def velocity_of(self, x0: Tensor, x: Tensor, t: Tensor, x1: Tensor | None) -> Tensor:
        """The probability-flow velocity at x_t = `x` that goes with an x0; without the bound on c, so for t inside (0, 1)."""
        if x1 is None:
            return self.growth(t) * (x - (1 - t) * x0) - x0
        residual = x - (1 - t) * x0 - t * x1
        return x1 - x0 + (1 - 2 * t) / (2 * t * (1 - t)) * residual

    def flow(self, x0: Tensor, x: Tensor, t: Tensor, to: Tensor, x1: Tensor | None) -> Tensor:
        """One step of the probability-flow ODE from t to `to`, exact for a constant x0: the noise keeps its direction."""
        if x1 is None:
            return (1 - to) * x0 + (self.variance(to) / self.variance(t)).sqrt() * (x - (1 - t) * x0)
        spread = (to * (1 - to) / (t * (1 - t)).clamp(min=1e-12)).sqrt()
        residual = torch.where(t < 1, x - (1 - t) * x0 - t * x1, torch.zeros_like(x))
        return (1 - to) * x0 + to * x1 + spread * residual

    def posterior(self, x0: Tensor, x: Tensor, t: Tensor, to: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation of the reverse SDE's step from t to `to`, exact for a constant x0: the bridge pinned at x0 and x_t.

        Mean x0 + to/t (x_t - x0), variance sigma^2 to (t - to) / t. The same at all scales: given x_t, the end x1 adds nothing.
        """
        return x0 + to / t * (x - x0), self.sigma * (to * (t - to) / t).sqrt()
