"""What is known of clean maps before a network learns: the spectrum of what terms leave of them, and the shapes that terms make."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import dct, dctn
from scipy.ndimage import distance_transform_edt
from torch import Tensor, nn

from fabloom.errors import DataError
from fabloom.plugins.blocks.noise import ScheduleName, noise_schedule
from fabloom.plugins.blocks.overlay.fitting import residue
from fabloom.plugins.blocks.overlay.maps import OverlayMaps
from fabloom.plugins.blocks.overlay.raster import Raster
from fabloom.plugins.blocks.overlay.terms import SIZES, Real

CHUNK = 256
"""Maps at once."""


class Wiener(nn.Module):
    """x0 = c x_t + (1 - a_t c) G, with c = a_t S / (a_t^2 S + s_t^2) for each wave of the cosine transform: what a Wiener filter makes of
    a noisy map x_t and an estimate G of the clean one, the error of which has the power S.

    So the network gives G, what it is told of the map, and need not carry the rest through its tokens: the skip of Karras et al. 2022 (EDM,
    2206.00364, equation 7), with a spectrum for a deviation, about an estimate instead of 0. At S = 0, the start, x0 is G.
    """

    power: Tensor
    alpha: Tensor
    sigma: Tensor
    waves: Tensor

    def __init__(self, size: int, schedule: ScheduleName) -> None:
        super().__init__()
        known = noise_schedule(schedule, 1e-4, 0.02)
        self.register_buffer("power", torch.zeros(size, size))
        self.register_buffer("alpha", known.alpha.float(), persistent=False)
        self.register_buffer("sigma", known.sigma.float(), persistent=False)
        self.register_buffer("waves", torch.from_numpy(dct(np.eye(size), axis=0, norm="ortho")).float(), persistent=False)

    def forward(self, x: Tensor, t: Tensor, estimate: Tensor, shown: Tensor | None = None) -> Tensor:
        """[B,2,H,W] of x and an estimate [B,2,H,W] and times t [B]; x is looked at only where it is `shown` [B,1,H,W]."""
        with torch.autocast(x.device.type, enabled=False):  # of what is nearly clean 8 bits would be lost
            estimate, given = estimate.float(), x if shown is None else x * shown
            alpha, sigma = (table[t][:, None, None, None] for table in (self.alpha, self.sigma))
            gain = alpha * self.power / (alpha**2 * self.power + sigma**2)
            both = gain * self._apart(given) + (1 - alpha * gain) * self._apart(estimate)
            clean: Tensor = self.waves.T @ both @ self.waves
            return clean if shown is None else torch.where(shown > 0, clean, estimate)

    def _apart(self, x: Tensor) -> Tensor:
        return self.waves @ x @ self.waves.T


def power(maps: OverlayMaps, unit: float) -> Tensor:
    """Mean power [H,W] of the waves of the cosine transform in what terms leave of maps, in a unit of nm, less the part of each wave that
    goes on from the layer below. Maps fade out towards their edge before, which otherwise leaks long waves into short ones.

    Raises DataError where a map was measured at too few places to tell its terms apart.
    """
    own, common, other, filled = (np.zeros(maps.values.shape[-2:]) for _ in range(4))
    for start in range(0, len(maps), CHUNK):
        part = slice(start, start + CHUNK)
        valid = maps.valid[part].astype(bool)
        try:
            rest, below = (residue(maps.raster, maps.array(name)[part], valid) / unit for name in ("values", "previous"))
        except DataError as error:
            raise DataError(f"of maps from {start} on, {error}; or train with wiener: false, which needs no fit") from error
        fading = faded(valid)
        waves, waves_below = (dctn(one * fading[:, None], axes=(2, 3), norm="ortho") for one in (rest, below))
        own += np.square(waves).sum((0, 1))
        common += (waves * waves_below).sum((0, 1))
        other += np.square(waves_below).sum((0, 1))
        filled += 2 * np.square(fading).sum(0)
    told = np.divide(common**2, other, out=np.zeros_like(own), where=other > 0)
    return torch.from_numpy((own - told) / filled.mean()).float()


def faded(valid: NDArray[np.bool_]) -> Real:
    """From 1 at the middle of each mask [N,H,W] to 0 beyond its edge, as the square of a sine."""
    masks, which = np.unique(valid, axis=0, return_inverse=True)
    depth = np.stack([distance_transform_edt(np.pad(mask, 1))[1:-1, 1:-1] for mask in masks])
    fading: Real = np.sin(np.pi / 2 * depth / depth.max((1, 2), keepdims=True)) ** 2
    return fading[which.ravel()]


def shapes(raster: dict[str, Any]) -> Tensor:
    """Shapes that the terms make on a raster, [K,2,H,W], each less what those before it make, of mean square 1 where valid and 0 elsewhere.

    As they are, x and x^3 of a field are all but one shape where three pixels cross it, and neither would be learned.
    """
    here = Raster.of(raster)
    terms = here.basis * SIZES[:, None, None, None] * here.valid
    apart, _ = np.linalg.qr(terms.reshape(len(terms), -1).T)
    return torch.from_numpy(apart.T.reshape(terms.shape) * here.valid * np.sqrt(2 * here.valid.sum())).float()
