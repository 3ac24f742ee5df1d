"""Roughness spectra of vertical edges from grey values, and their distance.

Where an edge moves by d(y), the grey value changes by -g(x) d(y) to first order, g being the slope of the mean profile. The
periodogram P(f, x) of a column thus is g(x)^2 times the one of the edge, and so each column estimates

    S(f) = P(f, x) / g(x)^2      the edges' power spectral density in pixels^3, camera noise included.

The estimates of all columns are joined by their median with the weights g(x)^2, which a defect on a few edges does not move;
the median of a periodogram is ln 2 times its mean (its ordinates are exponentially distributed), which is taken out.

What two spectra differ by is the log-spectral distance (Gray & Markel, IEEE Trans. ASSP 24, 380, 1976).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]
ROUNDING = 1 / 12
"""Variance of rounding to whole grey levels: no power is below it, so that a flat image has a spectrum too."""


def band_edges(rows: int, bands: int) -> NDArray[np.int64]:
    """Edges [bands + 1] of bands of frequency indices: from 1 to rows // 2, equally wide on a logarithmic axis, none empty.

    Raises ValueError where there are fewer frequencies than bands.
    """
    last = rows // 2
    if last < bands:
        raise ValueError(f"{rows} rows have {last} frequencies, fewer than {bands} bands")
    edges = np.rint(np.geomspace(1, last + 1, bands + 1)).astype(np.int64)
    for index in range(1, bands + 1):  # at the low end, where rounding makes neighbours equal
        edges[index] = max(edges[index], edges[index - 1] + 1)
    for index in range(bands, 0, -1):
        edges[index] = min(edges[index], last + 1 - (bands - index))
    return edges


def spectrum(image: Real, bands: int) -> Real:
    """Power spectral density [bands] of the edges of a grey image [H,W] along y, in pixels^3."""
    rows = len(image)
    window = np.hanning(rows + 2)[1:-1, None]
    profile = image.mean(0)
    power = np.square(np.abs(np.fft.rfft((image - profile) * window, axis=0))) / np.square(window).sum()
    slope = np.square(np.gradient(profile)) + ROUNDING / rows
    density = weighted_median((power + ROUNDING) / slope, slope) / np.log(2)
    edges = band_edges(rows, bands)
    sums: Real = np.add.reduceat(density[: edges[-1]], edges[:-1])
    return sums / np.diff(edges)


def weighted_median(values: Real, weights: Real) -> Real:
    """The median of each row of values [F,W], column x counting weights[x] times."""
    order = np.argsort(values, axis=1)
    reached = np.cumsum(weights[order], axis=1) >= weights.sum() / 2
    found: Real = np.take_along_axis(values, order, axis=1)[np.arange(len(values)), reached.argmax(1)]
    return found


def distance(a: Real, b: Real) -> Real:
    """Log-spectral distance in decibels over the last axis: the root mean square of 10 log10(a / b)."""
    found: Real = np.sqrt(np.square(10 * np.log10(a / b)).mean(-1))
    return found
