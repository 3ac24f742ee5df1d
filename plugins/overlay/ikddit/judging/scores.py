"""Scores of generated maps against those that were measured, over valid pixels; errors in nm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr

from fabloom.plugins.blocks.frechet import Gaussian, frechet
from fabloom.plugins.blocks.overlay.fitting import fitted, left
from fabloom.plugins.blocks.overlay.raster import Raster
from fabloom.plugins.blocks.overlay.terms import SIZES, Real
from fabloom.plugins.blocks.spectra import power

from .known import Known

LEAST = 0.05
"""nm of a displacement below which nobody measures one; the log of less would say how a number was rounded."""
WIDE = 1.96
"""Deviations to either side that hold 95 % of a normal distribution."""
EXPLAINED = 0.8
"""Share of a term's variance that can be foretold at least, for it to count."""


def r2(foretold: Real, measured: Real) -> Real:
    """Share of the variance of each term that is foretold, [K]; terms [N,K]."""
    found: Real = 1 - np.square(foretold - measured).sum(0) / np.square(measured - measured.mean(0)).sum(0)
    return found


def rmse(foretold: Real, known: Known) -> Real:
    """Root of the mean squared error of each wafer's map [N]."""
    squared = np.square(foretold - known.values) * known.valid[:, None]
    found: Real = np.sqrt(squared.sum((1, 2, 3)) / (2 * known.valid.sum((1, 2))))
    return found


def crps(members: Real, known: Known) -> Real:
    """Continuous ranked probability score of each wafer [N], a mean over pixels, of members [N,M,2,H,W] (Gneiting & Raftery 2007).

    E|x - y| - E|x - x'| / 2, the second mean over different members, so that it does not favour large ensembles (Ferro 2014); of one
    member the absolute error.
    """
    count = members.shape[1]
    apart = np.abs(members - known.values[:, None]).mean(1)
    if count > 1:
        ranks = 2 * np.arange(1, count + 1) - count - 1
        apart = apart - (np.sort(members, 1) * ranks[:, None, None, None]).sum(1) / (count * (count - 1))
    found: Real = (apart * known.valid[:, None]).sum((1, 2, 3)) / (2 * known.valid.sum((1, 2)))
    return found


def coverage(mean: Real, deviation: Real, known: Known, rows: slice = slice(None)) -> float:
    """Share of measured pixels within 1.96 deviations of the mean: 0.95 of a calibrated normal one."""
    inside = np.abs(known.values[rows] - mean[rows]) <= WIDE * deviation[rows]
    return float(inside[np.broadcast_to(known.valid[rows][:, None], inside.shape)].mean())


def of_sigma(sigma: Real, mean: Real, known: Known) -> dict[str, float]:
    """Of a predicted sigma [N,2,H,W]: rank correlation with the error, and coverage after one factor that half of the wafers tell."""
    valid = np.broadcast_to(known.valid[:, None], sigma.shape)
    error, half = np.abs(known.values - mean), len(mean) // 2
    factor = np.sqrt(np.square(error[:half] / np.maximum(sigma[:half], 1e-9))[valid[:half]].mean())
    of_maps = [np.where(valid, one, 0).sum((1, 2, 3)) / valid.sum((1, 2, 3)) for one in (sigma, error)]
    of_places = [np.where(valid, one, 0).sum(0) / np.maximum(valid.sum(0), 1) for one in (sigma, error)]
    somewhere = valid.any(0)
    return {
        "spearman_pixels": float(spearmanr(sigma[valid], error[valid]).statistic),
        "spearman_places": float(spearmanr(of_places[0][somewhere], of_places[1][somewhere]).statistic),
        "spearman_wafers": float(spearmanr(*of_maps).statistic),
        "factor": float(factor),
        "coverage": coverage(mean, factor * sigma, known, slice(half, None)),
    }


@dataclass(frozen=True)
class Look:
    """How maps look as a set: their terms [N,K] in usual sizes, what those leave [N,2,H,W], and its power in thirds of the band [N,3]."""

    terms: Real
    rest: Real
    bands: Real

    @classmethod
    def of(cls, raster: Raster, values: Real, valid: NDArray[np.bool_]) -> Self:
        """Of maps [N,2,H,W]."""
        theta = fitted(raster, values, valid)
        rest = left(raster, values, theta, valid)
        bands = power(rest.reshape(-1, *rest.shape[2:])).reshape(len(rest), 2, -1).mean(1)
        return cls(theta / SIZES, rest, bands)

    def distance(self, other: Look) -> float:
        """Frechet distance of terms and logs of the power, to which the square of what nobody measures is added."""
        return apart(*(np.concatenate([one.terms, np.log(one.bands + LEAST**2)], 1) for one in (self, other)))

    def distance_of_terms(self, other: Look) -> float:
        """That of the terms alone."""
        return apart(self.terms, other.terms)


def apart(a: Real, b: Real) -> float:
    """Frechet distance of features [N,D] and [M,D]."""
    return float(frechet(*(Gaussian.of_rows(torch.from_numpy(one)) for one in (a, b))))


def correlation(rest: Real, below: Real) -> float:
    """Of what terms leave of maps with what they leave of the layer below."""
    return float((rest * below).sum() / np.sqrt(np.square(rest).sum() * np.square(below).sum()))


def seams(raster: Raster, values: Real, valid: NDArray[np.bool_]) -> float:
    """Mean squared step between neighbouring pixels across a field's border, over that within a field."""
    column, row = raster.fields.numbers(raster.places.X, raster.places.Y)
    across, within = [], []
    for axis in (0, 1):
        step = np.square(np.diff(values, axis=axis + 2)).sum(1)
        both = valid[:, 1:] & valid[:, :-1] if axis == 0 else valid[:, :, 1:] & valid[:, :, :-1]
        crosses = (np.diff(column, axis=axis) != 0) | (np.diff(row, axis=axis) != 0)
        across.append(step[both & crosses])
        within.append(step[both & ~crosses])
    return float(np.concatenate(across).mean() / np.concatenate(within).mean())
