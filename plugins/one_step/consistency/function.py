"""The consistency function, its targets and its loss, for any network.

f(x_t, t) = c_skip(t) x_t + c_out(t) x0(x_t, t) with x0 the clean image that the network's output stands for; f(x, 0) = x. It shall give the
same end along a path (Song et al. 2023, arXiv 2303.01469), with the coefficients of Luo et al. 2023, arXiv 2310.04378.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, log2, sqrt

import torch
from torch import Tensor

from fabloom.plugins.blocks.backbone import TIMES
from fabloom.plugins.blocks.noise import NoiseSchedule, Prediction, clean_image

Network = Callable[[Tensor, Tensor], Tensor]
"""(x_t [B,...], t [B]) to a prediction [B,...]."""
DEVIATION, SCALING = 0.5, 10.0
"""Of the data, and of times, in the coefficients."""


@dataclass(frozen=True)
class Function:
    """f(x, t) [B,...] of a network."""

    network: Network
    schedule: NoiseSchedule
    prediction: Prediction

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The end of the path through x at times t [B]."""
        skip, out = coefficients(t.to(x).reshape(-1, *[1] * (x.ndim - 1)))
        return skip * x + out * self.clean(x, t)

    def clean(self, x: Tensor, t: Tensor) -> Tensor:
        """The clean image that the network sees."""
        return clean_image(self.schedule, self.prediction, x, self.network(x, t).float(), t)

    def stepped(self, x: Tensor, t: Tensor, to: Tensor) -> Tensor:
        """x after one step of DDIM from times t to `to`, for a teacher."""
        clean = self.clean(x, t)
        (a, s), (a_to, s_to) = self.schedule.at(t, x), self.schedule.at(to, x)
        stepped: Tensor = a_to * clean + s_to * (x - a * clean) / s
        return stepped


def coefficients(t: Tensor) -> tuple[Tensor, Tensor]:
    """(c_skip, c_out) of times t."""
    scaled, variance = SCALING * t, DEVIATION**2
    return variance / (scaled**2 + variance), scaled / (scaled**2 + variance).sqrt()


def distance(first: Tensor, second: Tensor, huber: float) -> Tensor:
    """Pseudo-Huber distance [B] of images [B,...]: sqrt(|a - b|^2 + c^2) - c with c = huber * sqrt(values)."""
    gap = (first - second).flatten(1)
    c = huber * sqrt(gap.shape[1])
    return (gap.square().sum(1) + c**2).sqrt() - c


def teacher_times(points: int) -> Tensor:
    """Times between which a teacher steps [points + 1]: 0, then evenly up to the last."""
    return torch.cat([torch.zeros(1), (torch.arange(1, points + 1) * TIMES / points).round() - 1]).long()


def points_at(step: int, steps: int, first: int, last: int) -> int:
    """Times that a training without a teacher uses at a step: they double at equal spans, to `last` (Song & Dhariwal 2023, 2310.14189)."""
    spans = ceil(log2(last / first)) + 1
    doubled = min(step * spans // max(steps, 1), spans - 1)
    return min(first << doubled, last)


def training_times(points: int) -> Tensor:
    """Times between which a training without a teacher goes [points + 1], evenly from 0 to the last."""
    return torch.linspace(0, TIMES - 1, points + 1).round().long()


def level_shares(schedule: NoiseSchedule, times: Tensor, mean: float, deviation: float) -> tuple[Tensor, Tensor]:
    """(chance, weight) of each span between neighbouring times: that of a lognormal of s / a, and the inverse of the rise of s / a."""
    levels = (schedule.sigma / schedule.alpha)[times]
    ends = torch.erf((levels.log() - mean) / (deviation * 2**0.5))
    return (ends[1:] - ends[:-1]).clamp(min=1e-12), 1 / (levels[1:] - levels[:-1])


@torch.no_grad()
def generate(function: Function, x: Tensor, steps: int, renew: Callable[[], Tensor], clip: bool = True) -> Tensor:
    """From noise [B,...] at the last time to images: f, then noise of `renew` for each further step, at evenly falling times.

    `clip`: what is between two steps lies in [-1, 1], as pixels do and latents do not.
    """
    times = [round(TIMES * (steps - step) / steps) - 1 for step in range(steps)]
    for number, time in enumerate(times):
        t = torch.full((len(x),), time, device=x.device)
        if number:
            x = function.schedule.add_noise(x, renew(), t)
        x = function(x, t).clamp(-1, 1) if clip and number < steps - 1 else function(x, t)
    return x
