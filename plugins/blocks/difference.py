"""What differs from a clean reference image: the thresholds of the difference and its components."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fabloom.errors import DataError
from fabloom.kinds import ImageSet
from fabloom.kinds.masks import UNKNOWN

from .components import Found, Heights, keep
from .labels import LabelParams

Real = NDArray[np.float64]
BATCH = 256
MAD = 1.4826
"""Standard deviation of a normal distribution over its median absolute deviation."""
STRAY = 3.0
"""Standard deviations of where edges lie that are usual."""
GAUSS = np.exp(-(np.arange(-2, 3) ** 2) / 2.0)
GAUSS_8BIT = np.array([14, 62, 104, 62, 14]) / 256
"""The 5-tap Gaussian of sigma 1, and the same in the 8-bit fixed point that image libraries use for uint8."""


@dataclass(frozen=True)
class Rule:
    """What counts as a defect: the resolved parameters. `reference` is the blurred clean picture [H,W].

    Without `heights` there are two answers, above and below the threshold; with them three. `jitter` is the standard deviation, in
    pixels, of where edges lie: what they make by that is no defect.
    """

    reference: Real
    threshold: float
    min_area: int
    min_circularity: float
    eight_bit: bool
    sigma: float
    contrast: float
    heights: Heights | None = None
    jitter: float = 0.0

    @cached_property
    def strayed(self) -> Real:
        """Differences [H,W] that edges make which lie elsewhere by what is usual."""
        whole = np.nan_to_num(self.reference, nan=float(np.nanmean(self.reference)))
        strayed = STRAY * self.jitter * steepness(whole)
        reach = 2 * round(STRAY * self.jitter) + 1  # beyond a pixel the slope says too little: what the neighbourhood shows
        around = np.maximum(ndimage.maximum_filter(whole, reach) - whole, whole - ndimage.minimum_filter(whole, reach))
        usual: Real = np.maximum(strayed, around)
        return usual

    def against(self, reference: Real) -> Rule:
        """The same rule for another clean picture [H,W], not blurred; NaN where it shows nothing of the image's place."""
        return replace(self, reference=blurred_known(reference, self.eight_bit))

    def find(self, image: Real) -> Found:
        """Defects of a grey image [H,W]; 255 where the reference shows nothing."""
        signed = blur(image, self.eight_bit) - self.reference
        difference = np.abs(signed)
        unseen = np.isnan(difference)
        difference[unseen] = 0
        if self.heights is None:
            sure, count = keep(difference > self.threshold, self.min_area, self.min_circularity)
            found = Found(sure.astype(np.uint8), count, 0)
        else:
            heights = self.heights.above(noise(signed[None]))  # one image may be noisier than the others
            found = heights.split(np.where(difference > self.strayed, difference, 0), self.min_area, self.min_circularity)
        found.mask[unseen & (found.mask == 0)] = UNKNOWN
        return found


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


def blurred_known(picture: Real, eight_bit: bool = False) -> Real:
    """`blur` of a picture [H,W] with NaN where it is not known: those pixels stay so and take no part."""
    unknown = np.isnan(picture)
    if not unknown.any():
        return blur(picture, eight_bit)
    # the weight of the known neighbours makes up for those that are missing
    filled = blur(np.where(unknown, 0, picture)) / np.maximum(blur((~unknown).astype(float)), 1e-12)
    known: Real = np.where(unknown, np.nan, np.rint(filled) if eight_bit else filled)
    return known


def clean_rows(reference: ImageSet) -> NDArray[np.int64]:
    """Rows of the clean images of a set. Raises DataError where it has none or does not say which they are."""
    if reference.domain is None:
        if len(reference) > 1:
            raise DataError(f"the reference holds {len(reference)} images and no domain; load it with the `clean` patterns of images.load")
        return np.zeros(1, np.int64)
    rows = np.flatnonzero(reference.domain[:] == 0)
    if not len(rows):
        raise DataError(f"none of the {len(reference)} reference images is clean (domain 0); give a set with clean images")
    return rows


def noise(differences: Real) -> float:
    """Standard deviation of blurred differences [N,H,W], NaN where not known: the median over images of each one's MAD, so that
    defects do not count.
    """
    median = np.nanmedian if np.isnan(differences).any() else np.median
    centred = np.abs(differences - median(differences, axis=(1, 2), keepdims=True))
    return float(MAD * np.median(median(centred, axis=(1, 2))))


def steepness(reference: Real) -> Real:
    """Slope of a blurred picture [..,H,W], grey levels a pixel."""
    return np.hypot(np.gradient(reference, axis=-2), np.gradient(reference, axis=-1))


def jitter(differences: Real, references: Real, sigma: float) -> float:
    """Standard deviation, in pixels, of where edges lie, beyond what the noise makes of them; the median over images.

    From the blurred differences [N,H,W] to blurred references [N or 1,H,W] where those are steep, over their slopes: of each image
    the MAD, so that defects do not count. `sigma` is the noise away from edges.
    """
    found = []
    for gap, reference in zip(differences, np.broadcast_to(references, differences.shape), strict=True):
        slope = steepness(np.nan_to_num(reference, nan=float(np.nanmean(reference))))
        edges = (slope >= np.sqrt(np.square(slope).mean())) & (slope > 0) & np.isfinite(gap)
        if edges.any():
            strays = gap[edges] / slope[edges]
            away = MAD * np.median(np.abs(strays - np.median(strays)))
            found.append(away**2 - np.median(np.square(sigma / slope[edges])))
    return float(np.sqrt(max(0.0, np.median(found)))) if found else 0.0


def contrast_of(picture: Real) -> float:
    """Distance of the 1st and 99th percentile of a picture [H,W], NaN where not known."""
    low, high = np.nanpercentile(picture, (1, 99))
    return float(high - low)


def resolved(params: LabelParams, reference: Real, gaps: Real, references: Real, contrast: float) -> Rule:
    """The preset's values and the given ones, for a blurred reference [H,W].

    Noise and jitter are those of blurred differences [N,H,W] to blurred references [N or 1,H,W]. Raises DataError without noise and
    contrast.
    """
    published = params.preset == "published"
    sigma = noise(gaps)
    threshold = 5.0 if published else max(params.sigmas * sigma, params.contrast_share * contrast)
    if params.threshold is not None:
        threshold = params.threshold
    if threshold <= 0:
        raise DataError("the reference has neither contrast nor noise, so no threshold follows from it; give `threshold`")
    area, circularity = (51, 0.6) if published else (6, 0.3)
    seed = min(threshold, max(params.sigmas * sigma, params.seed_share * threshold))
    doubt = min(seed, max(params.doubt_sigmas * sigma, params.doubt_share * threshold))
    sigmas = (params.doubt_sigmas, params.sigmas) if params.threshold is None else (0.0, 0.0)  # a given threshold holds as it is
    return Rule(
        reference,
        threshold,
        area if params.min_area is None else params.min_area,
        circularity if params.min_circularity is None else params.min_circularity,
        published,
        sigma,
        contrast,
        None if published else Heights(doubt, seed, threshold, sigmas),
        jitter(gaps, references, sigma) if params.jitter is None and not published else params.jitter or 0.0,
    )
