"""Terms of measured maps by least squares, and what they leave."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError

from .raster import Raster
from .terms import NAMES, SIZES, Real


def fitted(raster: Raster, values: NDArray[np.floating], valid: NDArray[np.bool_]) -> Real:
    """Terms [N,K] of maps [N,2,H,W] in nm over their valid pixels [N,H,W], each in its unit (ppm, urad, nm/mm^2 ...).

    Maps that were measured at the same pixels are fitted together. Raises DataError for a map with too few pixels to tell the terms apart.
    """
    found = np.empty((len(values), len(NAMES)))
    masks, group = np.unique(valid.reshape(len(valid), -1), axis=0, return_inverse=True)
    scaled = raster.basis * SIZES[:, None, None, None]  # terms of usual size, so that none drowns in another's unit
    for number, mask in enumerate(masks):
        plane = mask.reshape(valid.shape[1:])
        design = scaled[:, :, plane].reshape(len(NAMES), -1).T
        rows = np.flatnonzero(group.ravel() == number)
        given = values[rows][:, :, plane].reshape(len(rows), -1).T.astype(np.float64)
        solution, _, rank, _ = np.linalg.lstsq(design, given, rcond=None)
        if rank < len(NAMES):
            raise DataError(f"map {rows[0]} was measured at {plane.sum()} pixels, too few to tell {len(NAMES)} terms apart; measure more")
        found[rows] = solution.T
    terms: Real = found * SIZES
    return terms


def drawn(raster: Raster, theta: Real) -> Real:
    """Maps [N,2,H,W] in nm that terms [N,K] make, beyond the wafer too."""
    made: Real = np.einsum("nk,kchw->nchw", theta, raster.basis, optimize=True)
    return made


def left(raster: Raster, values: NDArray[np.floating], theta: Real, valid: NDArray[np.bool_]) -> Real:
    """What terms [N,K] leave of maps [N,2,H,W]; 0 where not valid [N,H,W]."""
    rest: Real = (values - drawn(raster, theta)) * valid[:, None]
    return rest


def residue(raster: Raster, values: NDArray[np.floating], valid: NDArray[np.bool_]) -> Real:
    """What the terms that fit best leave of maps [N,2,H,W]; 0 where not valid."""
    return left(raster, values, fitted(raster, values, valid), valid)
