"""Does an image repeat the noise of a training image? Noise is a fingerprint: two acquisitions of one scene do not share it.

Let an image show a scene with a share a of the training image's noise n (deviation s) and fresh noise m (deviation r). Their noise
correlates by a s / sqrt(a^2 s^2 + r^2): 1 for a copy however bright, 1 / sqrt(2) for a copy with as much fresh noise on top, 0.32 under
three times as much, 0 for another acquisition. It is looked for at all cyclic shifts, in all turns and mirrorings of the frame; N
pixels of noise that have nothing to do with each other reach about sqrt(2 ln N / N) by chance, 0.04 for 96 x 96. A shift by a fraction
of a pixel spreads the peak over its neighbours, whose squares still sum to the same, so 3 x 3 of them are taken together. What is left
of edges in the noise fits all along the lines and after each period: frequencies that stand out are cut to three times the usual, and
what fits at the next best place is taken off, in squares.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from fabloom.plugins.blocks.difference import MAD, Real

CLIP = 3.0
"""Deviations beyond which what came off is an edge or a defect, not noise; times the median beyond which a frequency is the structure's."""
CLEAR = 2.0
"""What fits best must do so by this multiple of the next best place. Images of other noise exceed that by up to 1.6 times, measured on
frames of 32 to 96 pixels of lines, holes and cells.
"""
AROUND = 3
"""Pixels either way that belong to a peak."""


@dataclass(frozen=True)
class Repeats:
    """For each image [N]: the largest correlation of its noise with that of a known image, with which one, and the next best place's."""

    best: Real
    which: NDArray[np.int64]
    elsewhere: Real

    @property
    def share(self) -> Real:
        """Correlation beyond what fits elsewhere, in squares [N]."""
        found: Real = np.sqrt(np.maximum(np.square(self.best) - np.square(self.elsewhere), 0))
        return found

    def alike(self, least: float) -> NDArray[np.bool_]:
        """Images [N] that repeat at least so much, and clearly."""
        found: NDArray[np.bool_] = (self.share >= least) & (self.best >= CLEAR * self.elsewhere)
        return found


def repeats(noise: Iterable[Real], known: Iterable[Real]) -> Repeats:
    """The noise of images [H,W] held against that of known ones in every turn, at every cyclic shift."""
    turned = np.stack([turns(mark(one)) for one in known])  # [K,T,H,W]
    spectra = fft.rfft2(turned)
    own = peaks(fft.irfft2(np.square(np.abs(spectra[:, 0])), turned.shape[-2:]))[:, 0, 0]  # above 1 where neighbours share their noise
    spectra = np.conj(spectra) / np.sqrt(np.where(own > 0, own, np.inf))[:, None, None, None]
    found = [_best(one, spectra) for one in noise]
    best, which, elsewhere = (np.array(column) for column in zip(*found, strict=True))
    return Repeats(best, which, elsewhere)


def _best(noise: Real, spectra: NDArray[np.complex128]) -> tuple[float, int, float]:
    """The largest correlation with known images of these conjugate spectra, which one that is, and its next best place."""
    power = peaks(fft.irfft2(fft.rfft2(mark(noise)) * spectra, noise.shape))
    image, turn, down, right = (int(place) for place in np.unravel_index(int(power.argmax()), power.shape))
    rest, near = np.roll(power[image, turn], (-down, -right), (0, 1)), np.arange(-AROUND, AROUND + 1)
    rest[np.ix_(near, near)] = 0
    return float(np.sqrt(power[image, turn, down, right])), image, float(np.sqrt(rest.max()))


def peaks(alike: Real) -> Real:
    """Sum of the squares of what is above 0 of correlations [..,H,W], over 3 x 3 places of a frame without ends."""
    taken = ndimage.uniform_filter(np.square(np.maximum(alike, 0)), 3, mode="wrap", axes=(-2, -1)) * 9
    found: Real = np.maximum(taken, 0)  # its running sums fall below by a rounding
    return found


def mark(noise: Real) -> Real:
    """Noise [H,W] without its outliers and without what stands out of its spectrum, of mean 0 and length 1; all 0 where there is none."""
    usual = max(MAD * float(np.median(np.abs(noise))), float(noise.std()) / CLIP)
    spectrum = fft.rfft2(np.where(np.abs(noise) <= CLIP * usual, noise, 0))
    spectrum[0, 0] = 0
    size = np.abs(spectrum)
    kept = fft.irfft2(spectrum * np.minimum(1, CLIP * np.median(size) / np.maximum(size, 1e-12)), noise.shape)
    found: Real = kept / max(float(np.linalg.norm(kept)), 1e-9)
    return found


def turns(mark: Real) -> Real:
    """A picture [H,W] mirrored each way and both [4,H,W]; of a square one its four quarter turns and their mirrorings [8,H,W]."""
    both = [mark] if mark.shape[0] != mark.shape[1] else [mark, mark.T]
    return np.stack([one[::down, ::right] for one in both for down in (1, -1) for right in (1, -1)])
