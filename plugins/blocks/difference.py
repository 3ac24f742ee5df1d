"""What differs from a clean reference image: the difference's threshold and components, and how well the lines lie on its lines."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from fabloom.errors import DataError
from fabloom.kinds import ImageSet

from .components import keep
from .labels import LabelParams

Real = NDArray[np.float64]
BATCH = 256
MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
GAUSS = np.exp(-(np.arange(-2, 3) ** 2) / 2.0)
GAUSS_8BIT = np.array([14, 62, 104, 62, 14]) / 256
"""The 5-tap Gaussian of sigma 1, and the same in the 8-bit fixed point that image libraries use for uint8."""


@dataclass(frozen=True)
class Rule:
    """What counts as a defect: the resolved parameters."""

    reference: Real
    threshold: float
    min_area: int
    min_circularity: float
    eight_bit: bool
    sigma: float
    contrast: float

    def mask(self, image: Real) -> tuple[NDArray[np.bool_], int]:
        """Mask [H,W] and number of accepted components of a grey image [H,W]."""
        difference = np.abs(blur(image, self.eight_bit) - self.reference)
        return keep(difference > self.threshold, self.min_area, self.min_circularity)


def blur(images: Real, eight_bit: bool = False) -> Real:
    """Gaussian blur over the last two axes: 5 taps, sigma 1, mirrored without repeating the border pixel.

    `eight_bit` uses the fixed-point kernel and rounds to whole grey levels.
    """
    taps = GAUSS_8BIT if eight_bit else GAUSS / GAUSS.sum()
    for axis in (-2, -1):
        images = ndimage.convolve1d(images, taps, axis=axis, mode="mirror")
    blurred: Real = np.rint(images) if eight_bit else images
    return blurred


def grey(images: NDArray[np.uint8]) -> Real:
    """uint8 [N,C,H,W] to the mean of the channels [N,H,W]."""
    values: Real = images.mean(1, dtype=np.float64)
    return values


def clean_reference(reference: ImageSet) -> Real:
    """The clean grey images [K,H,W] of a set. Raises DataError where it has none or does not say which they are."""
    if reference.domain is None:
        if len(reference) > 1:
            raise DataError(f"the reference holds {len(reference)} images and no domain; load it with the `clean` patterns of images.load")
        return grey(reference.images[:])
    rows = np.flatnonzero(reference.domain[:] == 0)
    if not len(rows):
        raise DataError(f"none of the {len(reference)} reference images is clean (domain 0); give a set with clean images")
    return grey(reference.images[:][rows])


def noise(differences: Real) -> float:
    """Standard deviation of blurred differences [N,H,W]: the median over images of each one's MAD, so that defects do not count."""
    centred = np.abs(differences - np.median(differences, axis=(1, 2), keepdims=True))
    return float(MAD * np.median(np.median(centred, axis=(1, 2))))


def make_rule(params: LabelParams, images: ImageSet, clean: Real) -> Rule:
    """Resolve the preset: reference image, noise, contrast and threshold."""
    published = params.preset == "published"
    middle = np.median(clean, axis=0)
    reference = blur(middle, published)
    # one clean image differs from itself by nothing: then the images to be labelled show the noise
    sample = clean[:BATCH] if len(clean) > 1 else grey(images.images[:BATCH])
    sigma = noise(blur(sample, published) - reference)
    low, high = np.percentile(middle, (1, 99))
    contrast = float(high - low)
    threshold = 5.0 if published else max(params.sigmas * sigma, params.contrast_share * contrast)
    if params.threshold is not None:
        threshold = params.threshold
    if threshold <= 0:
        raise DataError("the reference has neither contrast nor noise, so no threshold follows from it; give `threshold`")
    area, circularity = (51, 0.6) if published else (6, 0.3)
    return Rule(
        reference,
        threshold,
        area if params.min_area is None else params.min_area,
        circularity if params.min_circularity is None else params.min_circularity,
        published,
        sigma,
        contrast,
    )


def line_shift(images: Real, reference: Real) -> Real:
    """Distance [N] in pixels, across the lines, by which the lines of images [N,H,W] are off those of the reference [H,W].

    From the phase of the reference's strongest spatial frequency f under a Hann window: shift = phase / (2 pi |f|), which is
    within half a period. A reference without any structure gives 0.
    """
    height, width = reference.shape
    window = np.outer(np.hanning(height + 2)[1:-1], np.hanning(width + 2)[1:-1])
    spectrum = fft.fft2((reference - reference.mean()) * window)
    power = np.square(np.abs(spectrum))
    power[0, 0] = 0
    if power.max() < 1e-12 * power.size:
        return np.zeros(len(images))
    peak = np.unravel_index(power.argmax(), power.shape)
    near = np.arange(-2, 3)  # the main lobe of the window: its centre of mass is the frequency between the bins
    lobe = power[np.ix_((peak[0] + near) % height, (peak[1] + near) % width)]
    offset = near @ lobe.sum(1) / lobe.sum(), near @ lobe.sum(0) / lobe.sum()
    frequency = np.hypot(fft.fftfreq(height)[peak[0]] + offset[0] / height, fft.fftfreq(width)[peak[1]] + offset[1] / width)
    row, column = np.exp(-2j * np.pi * np.outer(peak, np.arange(max(height, width))) / np.array([[height], [width]]))
    moved = ((images - images.mean((1, 2), keepdims=True)) * window) @ column[:width] @ row[:height]
    shift: Real = -np.angle(moved * spectrum[peak].conj()) / (2 * np.pi * frequency)
    return shift
