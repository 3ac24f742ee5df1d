"""Measured wafers as what generated ones are held against, and what a rival may learn from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fabloom.errors import DataError
from fabloom.plugins.blocks.overlay.fitting import fitted, left
from fabloom.plugins.blocks.overlay.maps import OverlayMaps
from fabloom.plugins.blocks.overlay.raster import Raster
from fabloom.plugins.blocks.overlay.terms import SIZES, Real


@dataclass(frozen=True)
class Known:
    """Of wafers: maps [N,2,H,W] of the layer and of that below, where they are valid [N,H,W], and their terms [N,K] in usual sizes.

    `logs` and `logged` [N,F], `barcodes` and `lots` [N] are those of the set, and so is what of their terms is told, `told` [N,K].
    """

    raster: Raster
    valid: NDArray[np.bool_]
    values: Real
    below: Real
    terms: Real
    terms_below: Real
    logs: Real
    logged: Real
    barcodes: list[str]
    lots: NDArray[np.int64]
    told: Real | None

    @classmethod
    def of(cls, maps: OverlayMaps, count: int | None = None) -> Self:
        """Of the first `count` wafers of a set, or all."""
        rows = slice(count)
        valid = maps.valid[rows].astype(bool)
        values, below = (maps.array(name)[rows].astype(np.float64) for name in ("values", "previous"))
        terms, terms_below = (fitted(maps.raster, one, valid) / SIZES for one in (values, below))
        lots = np.arange(len(maps)) if maps.source is None else maps.source[...].astype(np.int64)
        logs, logged = (maps.array(name)[rows].astype(np.float64) for name in ("logs", "logged"))
        told = None if maps.told is None else maps.told[rows] / SIZES
        return cls(maps.raster, valid, values, below, terms, terms_below, logs, logged, maps.barcodes[rows], lots[rows], told)

    @property
    def residue(self) -> Real:
        """What the terms leave of the layer."""
        return left(self.raster, self.values, self.terms * SIZES, self.valid)

    @property
    def residue_below(self) -> Real:
        """And of the layer below."""
        return left(self.raster, self.below, self.terms_below * SIZES, self.valid)


def check_apart(training: OverlayMaps, maps: OverlayMaps) -> None:
    """Raise DataError for sets on different rasters, and for wafers of lots that were learned from."""
    if training.raster != maps.raster:
        raise DataError(f"training set {training.key[:12]} lies on another raster than set {maps.key[:12]}; load both alike")
    both = sorted(set(training.source_names) & set(maps.source_names))
    if both:
        raise DataError(
            f"{len(both)} lots are in training set {training.key[:12]} and in set {maps.key[:12]}, '{both[0]}' among them: what was "
            "learned from tells nothing. Part a set with overlay-map.split"
        )
