"""Lines with rough edges: the edges, and their exact rasterisation."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, gamma, pi, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from fabloom.plugins.blocks.imaging.aerial import Domain

Real = NDArray[np.float64]


@dataclass
class Lines:
    """Left and right edges [lines, rows] in nm from the left border of the domain; rows are the domain's fine samples."""

    left: Real
    right: Real

    @property
    def centre(self) -> Real:
        """Mean position of each line."""
        centre: Real = (self.left + self.right).mean(1) / 2
        return centre

    def copy(self) -> Lines:
        """Edges that can be changed without changing these."""
        return Lines(self.left.copy(), self.right.copy())


def roughness(rng: np.random.Generator, shape: tuple[int, int], step: float, *, sigma: float, correlation: float, hurst: float) -> Real:
    """Displacements [edges, rows] in nm of independent edges, stationary and periodic over the rows, which are `step` nm apart.

    Power spectrum S(f) = 2 sqrt(pi) G(H + 1/2) / G(H) sigma^2 xi / (1 + (2 pi f xi)^2)^(H + 1/2), which integrates to sigma^2
    over all f: the model of Palasantzas, Phys. Rev. B 48, 14472, 1993, in one dimension.
    """
    frequency = fft.rfftfreq(shape[1], step)
    scale = 2 * sqrt(pi) * gamma(hurst + 0.5) / gamma(hurst) * sigma**2 * correlation
    spectrum = scale / (1 + (2 * pi * frequency * correlation) ** 2) ** (hurst + 0.5)
    white = fft.rfft(rng.standard_normal(shape), axis=1)
    rough: Real = fft.irfft(white * np.sqrt(spectrum / step), shape[1], axis=1)
    return rough


def straight(domain: Domain, pitch: float, duty: float, phase: float) -> Lines:
    """Ideal lines over the whole domain. Line centres lie at (k + 1/2 + phase) pitch from the left border of the image."""
    origin = domain.guard * domain.pixel_nm + (0.5 + phase) * pitch
    first, last = ceil(-origin / pitch) - 1, floor((domain.length_nm - origin) / pitch) + 1
    centre = origin + np.arange(first, last + 1)[:, None] * pitch
    half = np.full((1, domain.fine), duty * pitch / 2)
    return Lines(centre - half, centre + half)


def coverage(lines: Lines, domain: Domain) -> Real:
    """Share [fine, fine] of each sample that lines cover, exact along x, in 0..1.

    An edge at e adds 1 - frac(e) to sample floor(e) and 1 to all after it: a running sum of two entries an edge and row.
    """
    width, rows = domain.fine, domain.fine
    edges = np.concatenate([lines.left, np.maximum(lines.left, lines.right)]) / domain.step
    sign = np.repeat([1.0, -1.0], len(lines.left))[:, None]
    edges = edges.clip(0, width)
    whole = np.floor(edges).astype(np.int64)
    part = edges - whole
    index = whole + np.arange(rows) * (width + 2)
    total = rows * (width + 2)
    steps = np.bincount(index.ravel(), ((1 - part) * sign).ravel(), total) + np.bincount((index + 1).ravel(), (part * sign).ravel(), total)
    covered: Real = steps.reshape(rows, width + 2).cumsum(1)[:, :width]
    return covered.clip(0, 1, out=covered)
