"""A deterministic way from an image to noise and back, under a class: the probability-flow ODE (Song et al. 2021, 2010.02502, eq. 14).

With x_t = a x_0 + s n, u = x_t / a and r = s / a, the flow is du/dr = n(x_t, t). DDIM follows n from the beginning of each step; Heun's
rule, taken here, follows the mean of its two ends, so that a round trip misses by the square of the step instead of the step itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from fabloom.plugins.blocks.backbone import TIMES
from fabloom.plugins.blocks.diffusion import Network, guided
from fabloom.plugins.blocks.noise import NoiseSchedule, Prediction, clean_image

from .given import NOTHING, Given


@dataclass(frozen=True)
class Flow:
    """A network of classes with its schedule; `null` is the number of no class. What is `given` of an image stays, the rest flows."""

    network: Network
    prediction: Prediction
    schedule: NoiseSchedule
    null: int
    given: Given = NOTHING

    def encode(self, x: Tensor, label: int, depth: float, steps: int) -> Tensor:
        """Images [B,*] under a class to x_t at t = `depth` of all times, in so many steps.

        Neither guided nor clipped, which could not be undone.
        """
        return self._walk(x, label, [0.0, *grid(depth, steps)], 1.0, clip=False)

    def decode(self, z: Tensor, label: int, depth: float, steps: int, guidance: float = 1.0) -> Tensor:
        """x_t [B,*] at t = `depth` back to images under a class. With guidance above 1 the clean image is clipped at every step."""
        return self._walk(z, label, [*reversed(grid(depth, steps)), 0.0], guidance, clip=guidance > 1)

    def split(self, z: Tensor, label: int, depth: float) -> tuple[Tensor, Tensor]:
        """(x_0, n) that the network sees in x_t."""
        return self._split(z, label, grid(depth, 1)[-1], 1.0, clip=False)

    def joined(self, x0: Tensor, noise: Tensor, depth: float) -> Tensor:
        """x_t of both."""
        a, s = self._at(grid(depth, 1)[-1])
        return self.given.put(a * x0 + s * noise, x0)

    def _walk(self, x: Tensor, label: int, times: list[float], guidance: float, *, clip: bool) -> Tensor:
        for start, end in pairwise(times):
            (a, s), (b, r) = self._at(start), self._at(end)
            slope = self._noise(x, label, start, guidance, clip=clip)
            guess = self.given.put((x / a + slope * (r / b - s / a)) * b, x)
            slope = (slope + self._noise(guess, label, end, guidance, clip=clip)) / 2
            x = self.given.put((x / a + slope * (r / b - s / a)) * b, x)
        return x

    def _noise(self, x: Tensor, label: int, time: float, guidance: float, *, clip: bool) -> Tensor:
        """n in x_t; at time 0 there is none to be seen, and its mean is 0."""
        return torch.zeros_like(x) if time == 0 else self._split(x, label, time, guidance, clip=clip)[1]

    def _split(self, x: Tensor, label: int, time: float, guidance: float, *, clip: bool) -> tuple[Tensor, Tensor]:
        t = torch.full((len(x),), self._index(time), device=x.device)
        output = guided(self.network, x, t, torch.full_like(t, label), self.null, guidance).float()
        x0 = clean_image(self.schedule, self.prediction, x, output, t)
        a, s = self._at(time)
        if clip:
            x0 = x0.clamp(-1, 1)
        x0 = self.given.put(x0, x)
        return x0, (x - a * x0) / s

    def _index(self, time: float) -> int:
        return round(time * TIMES) - 1

    def _at(self, time: float) -> tuple[float, float]:
        """(a, s) at a time; at 0 the image itself."""
        if time == 0:
            return 1.0, 0.0
        index = self._index(time)
        return float(self.schedule.alpha[index]), float(self.schedule.sigma[index])


def grid(depth: float, steps: int) -> list[float]:
    """Times after 0 up to `depth`, even, each a whole index of the schedule."""
    return [round(depth * k / steps * TIMES) / TIMES for k in range(1, steps + 1)]
