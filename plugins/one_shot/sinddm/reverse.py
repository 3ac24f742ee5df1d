"""The way back: from noise at the coarsest scale, from noise on the upsampled scale before at every finer one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fabloom.plugins.blocks.noise import Prediction

from .schedule import Blur

LARGEST_SHARE = 0.55
"""Bound of the blur's share where the clean image is found by taking the blur out, which divides by 1 - share (published)."""

Evaluate = Callable[[Tensor, int, int], Tensor]
"""(x_t [B,C,H,W], level t, scale) to the network's output."""
Guide = Callable[[Tensor, int], Tensor]
"""(clean image [B,C,H,W], scale) to the guided clean image."""
Fresh = Callable[[int, int], float]
"""(level t, level `to`) to the variance of the noise that is drawn anew in this step."""
Noise = Callable[[], Tensor]
"""Fresh standard normal noise of the state's shape."""


def visited(start: int, steps: int) -> list[int]:
    """At most `steps` of the levels start - 1 .. 0, evenly spread, both ends among them; only the first for one step."""
    spread = torch.linspace(start - 1, 0, min(steps, start), dtype=torch.float64)
    return [int(level) for level in spread.round()]


@dataclass(frozen=True)
class Reverse:
    """Steps of the reverse process for what a network predicts."""

    blur: Blur
    prediction: Prediction
    evaluate: Evaluate
    guide: Guide
    order: int = 1

    def descend(self, x: Tensor, base: Tensor | None, levels: Sequence[int], scale: int, noise: Noise, fresh: Fresh) -> Tensor:
        """From x at the first level to a clean image; `base` is the blurred image, None at the coarsest scale.

        x_to = a_to mix_to + sqrt(s_to^2 - v) (x - a_t mix_t) / s_t + sqrt(v) noise, with v = `fresh(t, to)`: 0 is deterministic
        (DDIM), the posterior's variance is ancestral sampling (Ho et al. 2020), and SinDDM's finer scales use a share of s_to^2.
        """
        alpha, sigma = self.blur.noise.alpha.tolist(), self.blur.noise.sigma.tolist()
        before: tuple[Tensor, int] | None = None
        for t, to in zip(levels, [*levels[1:], -1], strict=True):
            clean, mix = self.clean(x, t, scale, base)
            guided = self.guide(clean, scale)
            if to < 0:
                return guided.clamp(-1, 1)
            if self.order == 2 and before is not None:
                ahead = self.ahead(clean, t, to, *before)
                guided, mix = guided + ahead, mix + (1 - self.share(scale, t)) * ahead
            before = clean, t
            share = self.share(scale, to)
            then = guided if base is None else share * base + (1 - share) * guided
            variance = fresh(t, to)
            spread = (max(sigma[to] ** 2 - variance, 0.0)) ** 0.5 / sigma[t]
            x = alpha[to] * then.clamp(-1, 1) + spread * (x - alpha[t] * mix.clamp(-1, 1))
            if variance > 0:
                x = x + variance**0.5 * noise()
        return x

    def posterior(self, t: int, to: int) -> float:
        """Variance of x_to given x_t and x0: (1 - a_t^2 / a_to^2) s_to^2 / s_t^2."""
        alpha, sigma = self.blur.noise.alpha, self.blur.noise.sigma
        return float((1 - (alpha[t] / alpha[to]) ** 2) * sigma[to] ** 2 / sigma[t] ** 2)

    def ahead(self, clean: Tensor, t: int, to: int, before: Tensor, level: int) -> Tensor:
        """Half way on from the clean image of the level before to that of `to`, linear in log sigma (DPM-Solver++ 2M, Lu et al. 2022)."""
        place = self.blur.levels.log()
        return (clean - before) * float((place[t] - place[to]) / (place[level] - place[t])) / 2

    def share(self, scale: int, t: int) -> float:
        """g_s(t), bounded for a network that predicts the noise."""
        share = float(self.blur.shares(scale)[t])
        return min(share, LARGEST_SHARE) if self.prediction == "epsilon" else share

    def clean(self, x: Tensor, t: int, scale: int, base: Tensor | None) -> tuple[Tensor, Tensor]:
        """(clean image, its mix with the blurred one) at x_t = `x`.

        A network that predicts the noise shows the mix, from which the blur is taken out; the others show the clean image,
        clipped, into which it is mixed.
        """
        out = self.evaluate(x, t, scale)
        share = self.share(scale, t)
        if self.prediction == "epsilon":
            mix = (x - float(self.blur.noise.sigma[t]) * out) / float(self.blur.noise.alpha[t])
            if base is None:
                mix = mix.clamp(-1, 1)
                return mix, mix
            return (mix - share * base) / (1 - share), mix
        clean = out if self.prediction == "sample" else self.blur.clean(out, x, torch.tensor([t]))
        clean = clean.clamp(-1, 1)
        return (clean, clean) if base is None else (clean, share * base + (1 - share) * clean)
