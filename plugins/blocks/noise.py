"""Variance-preserving noise schedules and the three ways to state what a network predicts.

x_t = a_t x_0 + s_t n with a_t^2 + s_t^2 = 1. Predictions: epsilon n, velocity v = a_t n - s_t x_0 (Salimans & Ho 2022), x_0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .backbone import TIMES

ScheduleName = Literal["linear", "scaled_linear", "squaredcos_cap_v2"]
Prediction = Literal["epsilon", "v_prediction", "sample"]
BETA_SCHEDULES: dict[str, ScheduleName] = {"linear": "linear", "scaled_linear": "scaled_linear", "cosine": "squaredcos_cap_v2"}
"""Our names to those of diffusers."""


@dataclass(frozen=True)
class NoiseSchedule:
    """a_t and s_t for t = 0..T-1 (float64 kept, float32 served), index 0 is nearly clean."""

    alpha: Tensor
    sigma: Tensor

    @classmethod
    def make(cls, steps: int, name: ScheduleName = "linear", beta_start: float = 1e-4, beta_end: float = 0.02) -> NoiseSchedule:
        """The schedule of diffusers' `DDPMScheduler`, so that a model trained here samples with any diffusers scheduler.

        For `linear` and `scaled_linear` the betas are those of T = 1000; fewer steps take every (1000/T)-th point of the same
        cumulative schedule, so that x_{T-1} is noise whatever T is.
        """
        from diffusers import DDPMScheduler

        full = DDPMScheduler(num_train_timesteps=1000, beta_schedule=name, beta_start=beta_start, beta_end=beta_end)
        picked = full.alphas_cumprod.double()[torch.linspace(0, 999, steps).round().long()]
        return cls(picked.sqrt(), (1 - picked).sqrt())

    def __len__(self) -> int:
        return len(self.alpha)

    def at(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """(a_t, s_t) shaped to broadcast over `like` [B,...], in its dtype and on its device."""
        shape = (-1,) + (1,) * (like.ndim - 1)
        index = t.to(self.alpha.device)
        return self.alpha[index].to(like).reshape(shape), self.sigma[index].to(like).reshape(shape)

    def add_noise(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """x_t = a_t x_0 + s_t n."""
        a, s = self.at(t, x0)
        return a * x0 + s * noise

    def velocity(self, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """v = a_t n - s_t x_0."""
        a, s = self.at(t, x0)
        return a * noise - s * x0

    def split_velocity(self, x: Tensor, v: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(x_0, n) from x_t and v: x_0 = a_t x_t - s_t v, n = s_t x_t + a_t v."""
        a, s = self.at(t, x)
        return a * x - s * v, s * x + a * v


def noise_schedule(name: ScheduleName, beta_start: float, beta_end: float) -> NoiseSchedule:
    """The published schedule of `TIMES` times; `name` is diffusers'."""
    return NoiseSchedule.make(TIMES, name, beta_start, beta_end)


def target(schedule: NoiseSchedule, kind: Prediction, x0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """What a network of this kind should give: n, a_t n - s_t x_0, or x_0."""
    if kind == "epsilon":
        return noise
    return x0 if kind == "sample" else schedule.velocity(x0, noise, t)


def clean_image(schedule: NoiseSchedule, kind: Prediction, x: Tensor, output: Tensor, t: Tensor) -> Tensor:
    """The x_0 that a network's output stands for."""
    if kind == "sample":
        return output
    a, s = schedule.at(t, x)
    return (x - s * output) / a if kind == "epsilon" else a * x - s * output
