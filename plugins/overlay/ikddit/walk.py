"""From noise to maps without chance, some patches left out by the encoder in most steps.

A step goes from time t to u by what the clean map is taken for, x_u = s_u / s_t x_t - a_u (e^-h - 1) D, h the rise of log(a / s):
DDIM (Song et al. 2021, 2010.02502) where D is the clean map of this step, DPM-Solver++ (2M) (Lu et al. 2022, 2211.01095) where the one
before has a part in it. Times are even in log(a / s): even in t, twenty steps of DDIM halve the deviation of what varies little.

What is left out is not encoded, and nothing else is lost: the decoder gives its clean values too, and its noise is kept and moved along.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from fabloom.plugins.blocks.noise import NoiseSchedule

from .masking import drawn, turns
from .params import SampleParams

Network = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor, Tensor]]
"""(noisy maps, given channels, times, conditions, what is seen) to (clean maps, log of their spread, tokens)."""


@dataclass(frozen=True)
class Prompt:
    """What a network is told: channels [B,13,H,W] that go with the noisy maps, and tokens of the conditions [B,K,width]."""

    given: Tensor
    conditions: Tensor


@dataclass(frozen=True)
class Walk:
    """The steps of one sampling, for a network of so many `tokens`."""

    network: Network
    schedule: NoiseSchedule
    params: SampleParams
    tokens: int

    @cached_property
    def times(self) -> list[int]:
        """Times from the noisiest to the last, even in the log of a / s; fewer where two would be one."""
        level = (self.schedule.alpha / self.schedule.sigma).log()
        wanted = torch.linspace(float(level[-1]), float(level[0]), self.params.steps, dtype=level.dtype)
        return sorted({int((level - one).abs().argmin()) for one in wanted}, reverse=True)

    def step(self, time: int, after: int) -> float:
        """How much log(a / s) rises between two times."""
        level = (self.schedule.alpha / self.schedule.sigma).log()
        return float(level[after] - level[time])

    def seen(self, draw: torch.Generator) -> list[Tensor | None]:
        """Of each step the patches that the encoder sees, [1,V] or None for all."""
        params, steps = self.params, len(self.times)
        order = turns(self.tokens, params.mask_ratio, draw)
        found: list[Tensor | None] = []
        for step in range(steps):
            if not params.mask_ratio or step >= steps - params.whole_steps:
                found.append(None)
            elif params.turn == "random":
                found.append(drawn(1, self.tokens, params.mask_ratio, draw))
            else:
                found.append(order[step % len(order) if params.turn == "alternate" else 0][None])
        return found

    def __call__(
        self, noise: Tensor, prompt: Prompt, blank: Prompt | None, seen: list[Tensor | None], valid: Tensor, watch: Callable[[], None]
    ) -> tuple[Tensor, Tensor]:
        """(x0 [B,2,H,W], log b of the first evaluation), 0 where not `valid` [B,1,H,W]; `blank` is what guidance goes away from."""
        x, first, before, times = noise * valid, None, None, self.times
        for number, time in enumerate(times):
            watch()
            t = torch.full((len(x),), time, device=x.device)
            x0, spread, _ = self.network(x, prompt.given, t, prompt.conditions, seen[number])
            if blank is not None:
                without, _, _ = self.network(x, blank.given, t, blank.conditions, seen[number])
                x0 = without + self.params.guidance * (x0 - without)
            first = spread.float() if first is None else first
            x0 = x0.float() * valid
            if number + 1 == len(times):
                return x0, first
            step = self.step(time, times[number + 1])
            clean = x0
            if before is not None and self.params.order == 2:
                clean = x0 + (x0 - before) * step / (2 * self.step(times[number - 1], time))
            alpha, sigma = (float(values[times[number + 1]]) for values in (self.schedule.alpha, self.schedule.sigma))
            x = sigma / float(self.schedule.sigma[time]) * x - alpha * math.expm1(-step) * clean
            before = x0
        raise AssertionError("a walk has steps")
