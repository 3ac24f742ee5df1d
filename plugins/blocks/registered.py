"""The clean image that shows the same place as a training image, pixel on pixel, and where the two differ."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.morphology import remove_small_objects
from skimage.registration import phase_cross_correlation

from fabloom.errors import DataError
from fabloom.kinds import ImageSet
from fabloom.kinds.masks import is_defect

from .one_shot import Picture

Pixels = NDArray[np.uint8]
Real = NDArray[np.float64]
BLUR = 1.0
"""Deviation in pixels of the Gaussian before a difference is judged, as when it is labelled."""
SIGMAS, SHARE = 6.0, 0.2
"""A pixel differs by more than so many deviations of the noise, and than this share of the clean image's contrast."""
FEWEST = 6
"""Pixels of the smallest defect."""
MOST = 0.25
"""Largest share of an image that may differ from a clean one of the same place."""
LEAST = 0.5
"""Least correlation with a clean image of the same place; a defect on a tenth of the image leaves about 0.7."""
MAD = 1.4826


def clean_picture(picture: Picture, images: ImageSet, given: ImageSet | None) -> Pixels:
    """The clean image uint8 [C,H,W] of the training image's place: from `given`, else the image's own reference in the set `images`,
    else the set's clean image, the nearest where there are several.

    Raises DataError where there is none, and for one of another size, other channels, or another place.
    """
    if given is None and images.references is not None:
        rows = np.asarray(images.references[picture.row : picture.row + 1])
    else:
        rows = _candidates(picture, images, given)
    whose = images if given is None else given
    if rows.shape[2:] != picture.pixels.shape[1:]:
        (height, width), (high, wide) = rows.shape[2:], picture.pixels.shape[1:]
        raise DataError(f"the clean images of set {whose.key[:12]} are {height} x {width}, the training image is {high} x {wide}")
    clean = collapsed(rows, len(picture.pixels), whose)
    nearest: Pixels = clean[int(np.abs(clean.astype(np.int16) - picture.pixels).mean((1, 2, 3)).argmin())]
    check_registered(picture, nearest)
    return nearest


def _candidates(picture: Picture, images: ImageSet, given: ImageSet | None) -> Pixels:
    """Clean images [K,C,H,W] that may show the place."""
    source = images if given is None else given
    if source.domain is None:
        if given is None:
            raise DataError(f"set {images.key[:12]} does not say which of its images is clean, and has no references")
        rows = np.arange(len(given))
    else:
        rows = np.flatnonzero(source.domain[...] == 0)
    if given is None:
        rows = rows[rows != picture.row]
    if not len(rows):
        raise DataError(f"set {source.key[:12]} has no clean image (domain 0)")
    return np.asarray(source.images[...][rows])


def collapsed(pixels: Pixels, channels: int, whose: ImageSet) -> Pixels:
    """Images [K,C,H,W] with as many channels as the training image, whose equal channels are one. Raises DataError where they differ."""
    if len(pixels[0]) > channels == 1 and (pixels == pixels[:, :1]).all():
        return pixels[:, :1]
    if pixels.shape[1] != channels:
        raise DataError(f"the clean images of set {whose.key[:12]} have {pixels.shape[1]} channels, the training image {channels}")
    return pixels


def check_registered(picture: Picture, clean: Pixels) -> None:
    """Raises DataError for a clean image that does not show the training image's place pixel on pixel; says the shift if it has one."""
    grey = clean.mean(0, dtype=np.float64)
    off, alike = differing(picture.grey, grey).mean(), correlation(picture.grey, grey)
    shift = phase_cross_correlation(grey, picture.grey, upsample_factor=4)[0]
    moved = ndimage.shift(picture.grey, shift, order=1, mode="nearest")
    if np.abs(shift).max() >= 1 and 2 * differing(moved, grey).mean() < off and correlation(moved, grey) > max(alike, LEAST):
        raise DataError(
            f"the clean image is shifted against training image {picture.row} by {shift[0]:.2f} rows and {shift[1]:.2f} columns; "
            "give one of the same place, pixel on pixel"
        )
    if off > MOST or alike < LEAST:
        raise DataError(
            f"the clean image does not show the place of training image {picture.row} pixel on pixel: {off:.0%} differ, "
            f"their correlation is {alike:.2f}"
        )


def correlation(image: Real, clean: Real) -> float:
    """Pearson's correlation of two grey images [H,W] behind the blur; 0 where one is flat."""
    first, second = (values - values.mean() for values in (ndimage.gaussian_filter(one, BLUR, mode="mirror") for one in (image, clean)))
    return float((first * second).mean() / max(float(first.std() * second.std()), 1e-12))


def differing(image: Real, clean: Real) -> NDArray[np.bool_]:
    """Where a grey image [H,W] shows something else than its clean image within a pixel: [H,W]. An edge that is a pixel off is none."""
    soft, goal = (ndimage.gaussian_filter(values, BLUR, mode="mirror") for values in (image, clean))
    difference = soft - goal
    noise = MAD * np.median(np.abs(difference - np.median(difference)))
    low, high = np.percentile(clean, (1, 99))
    threshold = max(SIGMAS * noise, SHARE * (high - low), 1.0)
    beyond = np.maximum(soft - ndimage.maximum_filter(goal, 3), ndimage.minimum_filter(goal, 3) - soft)
    found: NDArray[np.bool_] = remove_small_objects(beyond > threshold, max_size=FEWEST - 1, connectivity=2)
    return found


def defect_mask(picture: Picture, images: ImageSet, clean: Pixels) -> NDArray[np.bool_]:
    """Where the training image has its defects [H,W]: its own mask where it has one, else where it differs from the clean image."""
    if images.masks is not None:
        own: NDArray[np.bool_] = is_defect(np.asarray(images.masks[picture.row : picture.row + 1]))[0]
        if own.any():
            return own
    return differing(picture.grey, clean.mean(0, dtype=np.float64))
