"""From t = 1 to t = 0 at one scale: the published Euler step, and second-order solvers of the flow and of the reverse SDE.

`ode` and `sde` are exact for a constant clean image, so their error is that of the clean image between two times. It is carried on
linearly from the last two (DPM-Solver++ 2M, Lu et al. 2022, for the coefficients of the bridge), and the times are squared, because
fine detail is decided near t = 0. Both matter with few steps: see tests/plugins/one_shot/test_sinsemi.py for the variance they keep.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from .bridge import Bridge, Prediction

LATEST = 1 - 1e-4
"""Largest time at which the velocity that goes with a clean image is formed; it is 0 / 0 at t = 1."""


class Solver(ABC):
    """Steps of one scale. `x1` is the known degraded end, None at the coarsest scale; make a new solver for every scale."""

    def __init__(self, bridge: Bridge, x1: Tensor | None) -> None:
        self.bridge, self.x1 = bridge, x1

    def times(self, steps: int) -> Tensor:
        """The times t_0 = 1 > ... > t_steps = 0, float32 [steps + 1]."""
        return torch.linspace(1, 0, steps + 1, dtype=torch.float64).square().float()

    @abstractmethod
    def step(self, clean: Tensor, x: Tensor, t: Tensor, to: Tensor) -> tuple[Tensor, Tensor]:
        """Mean [B,C,h,w] and deviation of the next state, from the state `x` and the clean image thought to lie behind it."""


class Multistep(Solver):
    """Carries the clean image on linearly in `ruler`, the logarithm of what weighs it in a step."""

    def __init__(self, bridge: Bridge, x1: Tensor | None) -> None:
        super().__init__(bridge, x1)
        self._last: tuple[Tensor, Tensor] | None = None

    @abstractmethod
    def ruler(self, t: Tensor) -> Tensor:
        """A function of time that rises without bound as t falls to 0."""

    def carried(self, clean: Tensor, t: Tensor, to: Tensor) -> Tensor:
        """The clean image at the middle of the step; itself in the first and the last step."""
        now = self.ruler(t)
        last, self._last = self._last, (clean, now)
        if last is None or to == 0 or not torch.isfinite(last[1]):
            return clean
        return clean + (self.ruler(to) - now) / (2 * (now - last[1])) * (clean - last[0])


class Ode(Multistep):
    """Probability flow. From a known end it is deterministic: all variety then comes from the coarsest scale."""

    def ruler(self, t: Tensor) -> Tensor:
        """log of the clean image's share over the noise's deviation."""
        noise = self.bridge.variance(t) if self.x1 is None else t * (1 - t)
        return ((1 - t) / noise.sqrt()).log()

    def step(self, clean: Tensor, x: Tensor, t: Tensor, to: Tensor) -> tuple[Tensor, Tensor]:
        """The flow; no noise."""
        return self.bridge.flow(self.carried(clean, t, to), x, t, to, self.x1), torch.zeros(())


class Sde(Multistep):
    """Reverse Brownian bridge: the drift with its score, and the noise that goes with it."""

    def ruler(self, t: Tensor) -> Tensor:
        """log 1 / t."""
        return -t.log()

    def step(self, clean: Tensor, x: Tensor, t: Tensor, to: Tensor) -> tuple[Tensor, Tensor]:
        """The bridge pinned at the clean image and the state; no noise in the last step."""
        return self.bridge.posterior(self.carried(clean, t, to), x, t, to)


class Paper(Solver):
    """x - h v + sqrt(h) sqrt(t (1-t)) sigma noise, at equal steps h, as published: noise without the score that would balance it."""

    def __init__(self, bridge: Bridge, x1: Tensor | None, sigma: float) -> None:
        super().__init__(bridge, x1)
        self.sigma = sigma

    def times(self, steps: int) -> Tensor:
        """Equal steps."""
        return torch.linspace(1, 0, steps + 1, dtype=torch.float64).float()

    def step(self, clean: Tensor, x: Tensor, t: Tensor, to: Tensor) -> tuple[Tensor, Tensor]:
        """One Euler step with the velocity that goes with the clean image; the last step adds noise too."""
        return self.euler(self.bridge.velocity_of(clean, x, t.clamp(max=LATEST), self.x1), x, t, to)

    def euler(self, velocity: Tensor, x: Tensor, t: Tensor, to: Tensor) -> tuple[Tensor, Tensor]:
        """The same from a velocity that the network gave itself."""
        return x + (to - t) * velocity, self.sigma * ((t - to) * t * (1 - t)).sqrt()


def advance(solver: Solver, kind: Prediction, out: Tensor, clean: Tensor, state: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and deviation of the next state. The published step takes a network's own velocity as it is, bound and all."""
    x, t, to = state
    if isinstance(solver, Paper) and kind == "velocity":
        return solver.euler(out, x, t, to)
    return solver.step(clean, x, t, to)
