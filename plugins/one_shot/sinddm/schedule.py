"""Noise and blur of every scale and level.

At level t of scale s >= 1 the image is x_t = a_t ((1 - g) x0 + g r) + s_t n: x0 sharp, r the upsampled scale before, n white noise.
The blur's share is g_s(t) = clip(sigma_t / l_s, 0, 1) with sigma_t = s_t / a_t, so that blur and noise vanish together; l_s is the
noise level from which on the image is all blur, and T_s the first level above it, where generation starts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fabloom.plugins.blocks.noise import NoiseSchedule
from fabloom.plugins.blocks.pyramid import Pyramid, Size
from fabloom.plugins.blocks.scale_network import RECEPTIVE_FIELD

from .params import TIMES, TrainParams


def noise_schedule() -> NoiseSchedule:
    """The cosine schedule with `TIMES` levels and betas of at most 0.999 (Nichol & Dhariwal 2021)."""
    from diffusers import DDPMScheduler

    cumulative = DDPMScheduler(TIMES, beta_schedule="squaredcos_cap_v2").alphas_cumprod.double()
    return NoiseSchedule(cumulative.sqrt(), (1 - cumulative).sqrt())


@dataclass(frozen=True)
class Blur:
    """`limits[s]` is l_s, the noise level at which scale s is all blur; `limits[0]` is None."""

    noise: NoiseSchedule
    limits: Sequence[float | None]

    @property
    def levels(self) -> Tensor:
        """sigma_t = s_t / a_t [T]: .025 at t = 0, .54 at 30, 1.04 at 50, 3.28 at 80, 2029 at 99."""
        return self.noise.sigma / self.noise.alpha

    def shares(self, scale: int) -> Tensor:
        """g_s(t) [T], float64; 0 everywhere at the coarsest scale."""
        limit = self.limits[scale]
        if limit is None:
            return torch.zeros_like(self.levels)
        return (self.levels / max(limit, 1e-12)).clamp(0, 1)

    def start(self, scale: int) -> int:
        """T_s, the first level with sigma_t > l_s; T at the coarsest scale. Generation runs over the levels T_s - 1 .. 0."""
        limit = self.limits[scale]
        return TIMES if limit is None else int((self.levels <= limit).sum())

    def slope(self, x0: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """v = (a_t x_t - x0) / s_t, the velocity of Salimans & Ho where there is no blur; bounded, since the blur ends with the noise."""
        a, s = self.noise.at(t, x)
        return (a * x - x0) / s

    def clean(self, v: Tensor, x: Tensor, t: Tensor) -> Tensor:
        """x0 = a_t x_t - s_t v."""
        a, s = self.noise.at(t, x)
        return a * x - s * v


def limits(params: TrainParams, noise: NoiseSchedule, pyramid: Pyramid, pixels: NDArray[np.uint8]) -> list[float | None]:
    """l_s of every scale by the rule `params.blur`; `pyramid` in network values, `pixels` [C,H,W] for the overflow."""
    scales = range(1, len(pyramid.images))
    if params.blur == "overflow":
        return [None, *overflow(pixels, pyramid.sizes)]
    if params.blur == "equivalent":
        return [None, *(equivalent(pyramid.images[s], pyramid.recons[s], params.detectability) for s in scales)]
    levels = (noise.sigma / noise.alpha).tolist()
    shares = [params.fractions[min(s, len(params.fractions)) - 1] for s in scales]
    # T_s levels lie at or below the last of them
    return [None, *(levels[max(round(share * TIMES) - 1, 0)] for share in shares)]


def equivalent(image: Tensor, recon: Tensor | None, detectability: float) -> float:
    """The noise under which a blurred and a sharp receptive field are separable by `detectability` only.

    An ideal observer of n pixels in white noise of deviation l separates two known images, whose difference has the mean square
    m, by d' = sqrt(n m) / l. With g proportional to the noise, d' is the same at all levels: what is left of the blur is never
    easier to see than that. n is the network's receptive field, 33 x 33.
    """
    assert recon is not None
    energy = (image - recon).square().sum(1).mean()
    return float(RECEPTIVE_FIELD * energy.sqrt()) / detectability


def overflow(pixels: NDArray[np.uint8], sizes: Sequence[Size]) -> list[float]:
    """l_s as the released code computes it: norm over number of the uint8 difference, which wraps around at 256.

    A difference of -1 counts as 255, so that l_s measures how often the blur is brighter. Grey images count as three equal
    channels. The line pair has 0.839 and 0.474; without the wrap 0.0049 and 0.0026, below all noise levels.
    """
    colour = np.repeat(pixels, 3, 0) if len(pixels) == 1 else pixels
    picture = Image.fromarray(np.ascontiguousarray(colour[:3].transpose(1, 2, 0)))
    images = [picture.resize((width, height), Image.Resampling.LANCZOS) for height, width in sizes]
    found = []
    for small, image in pairwise(images):
        difference = np.asarray(image) - np.asarray(small.resize(image.size, Image.Resampling.BILINEAR))
        found.append(float(np.linalg.norm(difference) / difference.size))
    return found
