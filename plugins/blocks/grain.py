"""The noise of images: how much there is, an image without most of it, and as much of it anew with the same spectrum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage, signal
from skimage.restoration import denoise_nl_means

from .difference import MAD
from .registration import LAPLACE

Real = NDArray[np.float64]
Size = tuple[int, int]
ROUNDING = 1 / 12
"""Variance that rounding to whole grey levels adds; noise is measured with it, and gets it again when a sample is rounded."""
PATCH, AROUND, STRENGTH = 5, 9, 0.8
"""Non-local means: side of a patch, how far others are looked for, and the filter's width in deviations of the noise."""
STRONGER = 2.0
"""Times the white part of the noise to which non-local means are set to find all of it."""
LAGS, GRID = 6, 32
"""Pixels over which noise may be correlated, and the side of the grid on which its spectrum is taken."""
CLIP = 3.0
"""Deviations beyond which a difference is an edge or a defect, not noise."""


@dataclass(frozen=True)
class Grain:
    """Stationary Gaussian noise: `kernel` [k,k] gives white noise its spectrum, `mix` [C,C] its deviations and what channels share."""

    kernel: Real
    mix: Real

    @classmethod
    def of(cls, noise: Real, variance: float | None = None) -> Grain:
        """From noise [K,C,H,W], NaN where it is not known; `variance` (mean of the channels) is what it shall have, else its own.

        What lies beyond three deviations counts for nothing. The spectrum is the transform of the autocovariance up to 6 pixels,
        tapered (Blackman, Tukey 1958).
        """
        centred = noise - np.nanmedian(noise, axis=(-2, -1), keepdims=True)
        usual = np.array([max(spread(channel), 1e-9) for channel in centred.transpose(1, 0, 2, 3)])
        known = np.isfinite(centred) & (np.abs(np.nan_to_num(centred)) <= CLIP * usual[:, None, None])
        values = np.where(known, centred, 0.0)
        seen = max(float(known.mean()), 1e-9)
        flat = values.transpose(1, 0, 2, 3).reshape(values.shape[1], -1)
        shared = flat @ flat.T / (seen * flat.shape[1])
        if variance is not None:
            shared *= variance / max(float(np.trace(shared)) / len(shared), 1e-12)
        sizes, turns = np.linalg.eigh(shared)
        return cls(_kernel(values), (turns * np.sqrt(np.maximum(sizes, 0))) @ turns.T)

    @property
    def deviation(self) -> float:
        """Root of the mean variance of the channels."""
        return float(np.sqrt(np.square(self.mix).sum() / len(self.mix)))

    def draw(self, size: Size, source: np.random.Generator) -> Real:
        """Fresh noise [C,*size]."""
        reach = len(self.kernel) - 1
        white = source.standard_normal((len(self.mix), size[0] + reach, size[1] + reach))
        shaped = signal.fftconvolve(white, self.kernel[None], mode="valid", axes=(1, 2))
        noise: Real = np.einsum("cd,dyx->cyx", self.mix, shaped)
        return noise


def _kernel(noise: Real) -> Real:
    """The symmetric filter [k,k] of unit power with the spectrum of noise [K,C,H,W]."""
    height, width = noise.shape[-2:]
    padded = (height + LAGS, width + LAGS)  # so that the ends do not meet
    power = np.square(np.abs(fft.rfft2(noise, padded))).mean((0, 1))
    alike = fft.irfft2(power, padded)
    lags = np.arange(-LAGS, LAGS + 1)
    taper = np.hanning(2 * LAGS + 3)[1:-1]
    near = np.zeros((GRID, GRID))
    near[np.ix_(lags, lags)] = alike[np.ix_(lags, lags)] * np.outer(taper, taper)
    shape = fft.fftshift(fft.ifft2(np.sqrt(np.maximum(fft.fft2(near).real, 0))).real)
    total = float(np.sqrt(np.square(shape).sum()))
    if total <= 0:
        shape[GRID // 2, GRID // 2] = total = 1.0
    odd = shape[1:, 1:] / total  # so that it has a middle
    kernel: Real = odd / np.sqrt(np.square(odd).sum())
    return kernel


def spread(values: Real) -> float:
    """Standard deviation of whole grey levels about 0 by their median deviation, NaN left out: edges and defects do not count.

    The levels are spread over their width first, or the median of small noise would jump.
    """
    known = values[np.isfinite(values)]
    if not len(known):
        return 0.0
    soft = known + np.random.default_rng(0).uniform(-0.5, 0.5, known.shape)
    return float(np.sqrt(max((MAD * np.median(np.abs(soft))) ** 2 - ROUNDING, 0.0)))


def fine_noise(image: Real) -> float:
    """Deviation of the white part of an image's noise [C,H,W]; edges do not answer to it (Immerkaer 1996)."""
    answers = [ndimage.convolve(channel, LAPLACE, mode="mirror") for channel in image]
    return spread(np.stack(answers))


def noise_of(image: Real) -> float:
    """Deviation of an image's noise [C,H,W] where no second image tells it, correlated or not: of what comes off it by non-local means
    that are set to more than its white part.
    """
    return spread(image - denoised(image, STRONGER * fine_noise(image)))


def denoised(image: Real, deviation: float) -> Real:
    """An image [C,H,W] without most of its noise of that deviation, by non-local means (Buades 2005)."""
    if deviation**2 <= ROUNDING:
        return image
    how = {"patch_size": PATCH, "patch_distance": AROUND, "h": STRENGTH * deviation, "sigma": deviation, "fast_mode": True}
    if len(image) == 1:  # an axis of one channel would be squeezed away
        smooth: Real = denoise_nl_means(image[0], **how)[None]
        return smooth
    return np.asarray(denoise_nl_means(image, channel_axis=0, **how))


def softened(picture: Real) -> Real:
    """A picture [..,H,W] with each pixel as the parabola says that fits the 5 x 5 pixels around it best (Savitzky, Golay 1964).

    Takes off three quarters of the variance of white noise and leaves what is as smooth as optics make it.
    """
    y, x = (axis.ravel() for axis in np.mgrid[-2:3, -2:3].astype(np.float64))
    terms = np.stack([np.ones_like(y), y, x, y * y, y * x, x * x], 1)
    kernel = np.linalg.pinv(terms)[0].reshape(5, 5)
    soft: Real = ndimage.correlate(picture, kernel.reshape((1,) * (picture.ndim - 2) + kernel.shape), mode="mirror")
    return soft


def fresh_variance(wanted: float, noise: float, removed: Real) -> float:
    """Variance that a sample gets anew: the wanted one, less what a clean image of this deviation keeps when `removed` is taken off,
    less rounding.

    Were the two independent, s^2 - r^2 would be kept, were they proportional (s - r)^2; of non-local means it is about midway, s (s - r).
    """
    kept = max(noise * (noise - float(removed.std())), 0.0)
    return max(wanted**2 - kept - ROUNDING, 0.0)
