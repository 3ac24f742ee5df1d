"""The cheapest rivals: the difference to the nearest clean image, and the density of what is bright."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from fabloom.errors import DataError
from fabloom.kinds import ImageSet, LazyArray
from fabloom.method import Context
from fabloom.plugins.blocks.smoothing import smoothed

from .params import DensityParams, DifferenceParams

Pixels = NDArray[np.uint8]
BATCH = 64


def difference(ctx: Context, params: DifferenceParams, images: ImageSet, clean: ImageSet | None) -> ImageSet:
    """The task `difference`."""
    pictures = None if clean is None else np.stack([clean.images[int(row)] for row in clean_rows(clean)])
    given = images.references if pictures is None else pictures
    if given is None:
        raise DataError(
            f"the images {images.key[:12]} have no references of their own; give the input `clean`, a set with clean images of that place"
        )
    if given.shape[1:] != images.images.shape[1:]:
        (c, h, w), (d, g, v) = given.shape[1:], images.images.shape[1:]
        raise DataError(f"the clean images are {h} x {w} x {c}, the images {images.key[:12]} {g} x {v} x {d}; they must have one size")
    batches = differences(ctx, params, images, pictures)
    return ImageSet.write(ctx, batches, count=len(images), channels=images.images.shape[1], **images.origins())


def differences(ctx: Context, params: DifferenceParams, images: ImageSet, pictures: Pixels | None) -> Iterator[dict[str, NDArray[Any]]]:
    """Batches of images with their scores."""
    with ctx.progress(len(images), unit="image", name="difference") as bar:
        for start in range(0, len(images), BATCH):
            rows = slice(start, start + BATCH)
            pixels, own = np.asarray(images.images[rows]), images.references if pictures is None else None
            clean = nearest(pixels, pictures) if pictures is not None else _rows(own, rows)
            gaps = np.abs(soft(pixels, params.smooth) - soft(clean, params.smooth)).mean(1)
            yield {"images": pixels, "scores": (gaps / 255).astype(np.float16)}
            bar.advance(len(pixels))


def density(ctx: Context, params: DensityParams, images: ImageSet) -> ImageSet:
    """The task `density`."""
    channels = images.images.shape[1]
    if params.given >= channels:
        raise DataError(f"given={params.given}: the images {images.key[:12]} have {channels} channels, and none is left. Give fewer")
    return ImageSet.write(ctx, densities(ctx, params, images), count=len(images), channels=channels, **images.origins())


def densities(ctx: Context, params: DensityParams, images: ImageSet) -> Iterator[dict[str, NDArray[Any]]]:
    """Batches of images with their scores."""
    with ctx.progress(len(images), unit="image", name="density") as bar:
        for start in range(0, len(images), BATCH):
            pixels = np.asarray(images.images[start : start + BATCH])
            yield {"images": pixels, "scores": crowded(pixels, params.smooth, params.given).astype(np.float16)}
            bar.advance(len(pixels))


def crowded(pixels: Pixels, sigma: float, given: int) -> NDArray[np.float64]:
    """Brightness 0 to 1 of each pixel of images [B,C,H,W], times its mean over a Gaussian around it: [B,H,W]."""
    own, known = np.split(pixels, [pixels.shape[1] - given], axis=1)
    bright = own.mean(1, dtype=np.float64) / 255
    found: NDArray[np.float64] = bright * smoothed(bright, sigma, known.max(1) > 127 if given else None)
    return found


def _rows(array: LazyArray | None, rows: slice) -> Pixels:
    assert array is not None
    return np.asarray(array[rows])


def nearest(pixels: Pixels, pictures: Pixels) -> Pixels:
    """Of each image [B,C,H,W] the clean picture [K,C,H,W] with the smallest mean absolute difference."""
    return np.stack([pictures[int(np.abs(pictures.astype(np.int16) - one).mean((1, 2, 3)).argmin())] for one in pixels])


def soft(pixels: Pixels, sigma: float) -> NDArray[np.float64]:
    """Images [B,C,H,W] behind a Gaussian."""
    values = pixels.astype(np.float64)
    return ndimage.gaussian_filter(values, (0, 0, sigma, sigma), mode="mirror") if sigma else values


def clean_rows(images: ImageSet) -> NDArray[np.intp]:
    """Rows of clean images, all of a set that says nothing. Raises DataError where there is none."""
    rows = np.arange(len(images)) if images.domain is None else np.flatnonzero(np.asarray(images.domain) == 0)
    if not len(rows):
        raise DataError(f"none of the {len(images)} images of set {images.key[:12]} is clean (domain 0)")
    return rows
