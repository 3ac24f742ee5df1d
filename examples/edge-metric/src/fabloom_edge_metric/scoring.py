"""The task `score`: the distance of every image, and what it is read against."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from fabloom import Context, DataError, ImageSet, Interrupted, Report, Table
from fabloom.plugins.judge.quality import ReferencePair, metric_report

from .method import ScoreParams
from .spectrum import Real, band_edges, distance, spectrum


def grey(image: NDArray[np.uint8]) -> Real:
    """uint8 [C,H,W] to the mean of the channels [H,W]."""
    values: Real = image.mean(0, dtype=np.float64)
    return values


def run(ctx: Context, params: ScoreParams, images: ImageSet, reference: ImageSet) -> Report:
    """Score every image and write the report."""
    size, wanted = images.images.shape[2:], reference.images.shape[2:]
    if size != wanted:
        raise DataError(f"images are {size[0]} x {size[1]} but the reference is {wanted[0]} x {wanted[1]}; they must have one size")
    try:
        bounds = band_edges(size[0], params.bands)
    except ValueError as error:
        raise DataError(f"{error}; give fewer `bands`") from error
    rows = ReferencePair.of(reference, params.reference_row, params.clean_row)
    goal = spectrum(grey(rows.image), params.bands)
    found = spectra(ctx, images, params.bands)
    columns = {"reference": goal, "mean of the images": np.exp(np.log(found).mean(0))}
    anchors = {"noise": float(distance(spectrum(noise_like(grey(rows.image), ctx.seed), params.bands), goal))}
    pair = None
    if rows.clean is not None:
        columns["clean image"] = spectrum(grey(rows.clean), params.bands)
        pair = float(distance(columns["clean image"], goal))
    return metric_report(
        ctx,
        name="edge_roughness",
        meaning="log-spectral distance of the roughness spectrum of the edges to that of the reference image",
        unit="dB",
        values=distance(found, goal),
        pair=pair,
        anchors=anchors,
        higher_is_better=None,
        images=images,
        reference=reference,
        rows=rows,
        tables={"Roughness spectrum of the edges, in pixels^3": told(bounds, size[0], columns)},
        notes=[
            "0 dB is a copy. The lines must be vertical. Camera noise is part of a spectrum: compare images of one camera. "
            "The anchor 'noise' is white noise with the mean and deviation of the reference."
        ],
    )


def spectra(ctx: Context, images: ImageSet, bands: int) -> Real:
    """Spectra [N,bands] of all images. Raises Interrupted on a stop."""
    found = np.empty((len(images), bands))
    with ctx.progress(len(images), unit="image", name="spectra") as bar:
        for index in range(len(images)):
            if ctx.stop_requested():
                raise Interrupted(f"stopped after {index} of {len(images)} images. Run the same command again to start over.")
            found[index] = spectrum(grey(images.images[index]), bands)
            bar.advance()
    return found


def noise_like(image: Real, seed: int) -> Real:
    """White noise with the mean and deviation of an image [H,W], as a camera would give it."""
    drawn = np.random.default_rng(seed).normal(image.mean(), image.std(), image.shape)
    return np.clip(np.rint(drawn), 0, 255)


def told(bounds: NDArray[np.int64], rows: int, columns: dict[str, Real]) -> Table:
    """One row a band: its frequencies in cycles per pixel, and the spectra."""
    bands = [f"{low / rows:.3f} to {(high - 1) / rows:.3f}" for low, high in pairwise(bounds)]
    values = zip(*(column.tolist() for column in columns.values()), strict=True)
    return Table(("cycles per pixel", *columns), [[band, *row] for band, row in zip(bands, values, strict=True)])
