"""Partially coherent imaging by Abbe's sum over source points.

    I(x) = sum_s w_s | F^-1[ T(f) P(f + s) ](x) |^2

T is the spectrum of the object's amplitude reflectance, P the pupil (1 for |f| <= NA / wavelength), s a source point and
w_s its weight. Mack, Fundamental Principles of Optical Lithography, 2007, ch. 2-3; Goodman, Statistical Optics.

A field holds frequencies up to R = NA / wavelength around -s, so its intensity ends at 2 R: both are computed on a coarse
grid that holds exactly these frequencies, and taken from there to the camera's pixels by their Fourier series. Nothing is
interpolated. The amplitude of the object must be real: then s and -s give the same intensity and half the source suffices.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor, pi

import numpy as np
from numpy.typing import NDArray
from scipy import fft

Real = NDArray[np.float64]
RINGS, SPOKES = 3, 8
"""Sampling of half the source: rings of equal area times directions."""


@dataclass(frozen=True)
class Domain:
    """The simulated square: the image and a guard of at least 1.5 wavelength / NA around it, which keeps the wrap-around of
    the Fourier transform out of sight. `fine` samples of `step` nm a side, `supersample` of them to a camera pixel.
    """

    size: int
    pixels: int
    supersample: int
    pixel_nm: float

    @classmethod
    def around(cls, size: int, pixel_nm: float, pitch_nm: float, wavelength_nm: float, na: float) -> Domain:
        """The domain of an image of `size` pixels; the object is sampled at wavelength / (18 NA) or finer.

        Its side is as near to whole pitches as pixels allow, so that the pattern goes on across the wrap-around.
        """
        resolution = wavelength_nm / na
        least = size + 2 * ceil(1.5 * resolution / pixel_nm)
        sides = range(least, least + ceil(pitch_nm / pixel_nm) + 1)
        pixels = min(sides, key=lambda side: abs(side * pixel_nm / pitch_nm - round(side * pixel_nm / pitch_nm)))
        return cls(size, pixels, max(1, ceil(18 * pixel_nm / resolution)), pixel_nm)

    @property
    def fine(self) -> int:
        """Samples a side."""
        return self.pixels * self.supersample

    @property
    def step(self) -> float:
        """Distance of samples in nm."""
        return self.pixel_nm / self.supersample

    @property
    def guard(self) -> int:
        """Camera pixels above and left of the image."""
        return (self.pixels - self.size) // 2

    @property
    def span_nm(self) -> tuple[float, float]:
        """Where the image begins and ends on either axis, in nm from the border of the domain."""
        return self.guard * self.pixel_nm, (self.guard + self.size) * self.pixel_nm

    @property
    def length_nm(self) -> float:
        """Side of the domain."""
        return self.pixels * self.pixel_nm


def source_points(sigma: float, sigma_inner: float = 0.0) -> Real:
    """Half of a disc or annular source as equally weighted points [M,2] in units of NA / wavelength."""
    area = (np.arange(RINGS) + 0.5) / RINGS
    radius = np.sqrt(sigma_inner**2 + area * (sigma**2 - sigma_inner**2))
    angle = (np.arange(SPOKES) + 0.5) * pi / SPOKES
    points: Real = np.stack([np.outer(radius, np.sin(angle)), np.outer(radius, np.cos(angle))], -1).reshape(-1, 2)
    return points


class Microscope:
    """Images real amplitude maps [fine, fine] of a `Domain` to intensities [size, size] at the camera's pixels."""

    def __init__(self, domain: Domain, wavelength_nm: float, na: float, sigma: float, sigma_inner: float = 0.0) -> None:
        self.domain = domain
        radius = na / wavelength_nm * domain.length_nm  # all frequencies in cycles per domain
        points = source_points(sigma, sigma_inner) * radius
        shifts = np.rint(points).astype(int)
        self._half = floor(radius + 0.5) + 1
        order = np.arange(-self._half, self._half + 1)
        self._band = self._half + int(np.abs(shifts).max())
        self._grid = fft.next_fast_len(4 * self._half + 1)
        # the field of source point s is gathered around -s: a shift of its spectrum does not change its intensity
        self._rows = (order - shifts[:, :1] + self._band)[:, :, None]
        self._columns = (order - shifts[:, 1:] + self._band)[:, None, :]
        offset_y = order + (points - shifts)[:, :1]
        offset_x = order + (points - shifts)[:, 1:]
        self._pupil = np.hypot(offset_y[:, :, None], offset_x[:, None, :]) <= radius
        self._transfer = self._pixel_transfer()

    def _pixel_transfer(self) -> NDArray[np.complex128]:
        """Pixel aperture (a box) and the half-sample offset between the two grids, for one axis and orders -2h .. 2h."""
        order = np.arange(-2 * self._half, 2 * self._half + 1) / self.domain.pixels
        transfer: NDArray[np.complex128] = np.sinc(order) * np.exp(1j * pi * order * (1 - 1 / self.domain.supersample))
        return transfer

    def image(self, amplitude: Real) -> Real:
        """Intensity at the camera's pixels; 1 for a uniform amplitude of 1."""
        block = self._low_orders(amplitude)
        fields = np.zeros((len(self._pupil), self._grid, self._grid), np.complex128)
        width = 2 * self._half + 1
        fields[:, :width, :width] = block[self._rows, self._columns] * self._pupil
        fields = fft.ifft2(fields, norm="forward", overwrite_x=True)
        intensity = (np.square(fields.real) + np.square(fields.imag)).mean(0)
        return self._on_camera(fft.fft2(intensity, norm="forward"))

    def _low_orders(self, amplitude: Real) -> NDArray[np.complex128]:
        """Fourier coefficients of orders -band .. band on both axes."""
        band = self._band
        half = fft.rfft2(amplitude, norm="forward")[:, : band + 1]
        rows = np.arange(-band, band + 1)
        block = np.empty((2 * band + 1, 2 * band + 1), np.complex128)
        block[:, band:] = half[rows]
        block[:, :band] = half[-rows, band:0:-1].conj()
        return block

    def _on_camera(self, spectrum: NDArray[np.complex128]) -> Real:
        order = np.arange(-2 * self._half, 2 * self._half + 1)
        pixels, guard, size = self.domain.pixels, self.domain.guard, self.domain.size
        wide = np.zeros((pixels, pixels), np.complex128)
        wide[np.ix_(order % pixels, order % pixels)] = (
            spectrum[np.ix_(order % self._grid, order % self._grid)] * self._transfer[:, None] * self._transfer
        )
        seen: Real = fft.ifft2(wide, norm="forward").real[guard : guard + size, guard : guard + size]
        return seen
