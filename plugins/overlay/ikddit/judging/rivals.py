"""What a generator of overlay maps must beat: the layer below as it is, and ridge regression on everything that is told."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from fabloom.plugins.blocks.overlay.fitting import drawn, fitted
from fabloom.plugins.blocks.overlay.maps import OverlayMaps
from fabloom.plugins.blocks.overlay.raster import Raster
from fabloom.plugins.blocks.overlay.terms import SIZES, Real
from fabloom.plugins.overlay.ikddit.material import FURTHEST, Units

STRENGTHS = np.logspace(-1, 4, 11)
FIELDS = 3
"""Fields of a barcode that say who exposed the wafer: tool and chuck, reticle, layer."""


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
        rows = slice(len(maps) if count is None else count)
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
        return left(self.raster, self.values, self.terms, self.valid)

    @property
    def residue_below(self) -> Real:
        """And of the layer below."""
        return left(self.raster, self.below, self.terms_below, self.valid)


def left(raster: Raster, values: Real, terms: Real, valid: NDArray[np.bool_]) -> Real:
    """Maps [N,2,H,W] less their terms [N,K] in usual sizes; 0 where not valid."""
    rest: Real = (values - drawn(raster, terms * SIZES)) * valid[:, None]
    return rest


@dataclass(frozen=True)
class Ridge:
    """Terms by ridge regression (Hoerl & Kennard 1970) on terms of the layer below, logs, which of them are missing, and fields of the
    barcode; and of what the terms leave that share which goes on from the layer below.
    """

    units: Units
    fields: list[list[str]]
    mean: Real
    scale: Real
    weights: Real
    bias: Real
    going_on: float

    @classmethod
    def of(cls, known: Known, units: Units) -> Self:
        """Learned from wafers of these units; the strength is the one that foretells their last lots best."""
        fields = [sorted(set(column)) for column in zip(*map(parts, known.barcodes), strict=True)]
        x = features(known, units, fields)
        mean, scale, bias = x.mean(0), x.std(0) + 1e-9, known.terms.mean(0)
        z, y = (x - mean) / scale, known.terms - bias
        last = np.isin(known.lots, np.unique(known.lots)[-max(1, len(np.unique(known.lots)) // 10) :])
        errors = [float(np.square(z[last] @ solved(z[~last], y[~last], strength) - y[last]).mean()) for strength in STRENGTHS]
        rest, below = known.residue, known.residue_below
        going_on = float((rest * below).sum() / np.square(below).sum())
        return cls(units, fields, mean, scale, solved(z, y, STRENGTHS[int(np.argmin(errors))]), bias, going_on)

    def terms(self, known: Known) -> Real:
        """Foretold terms [N,K] in usual sizes."""
        foretold: Real = (features(known, self.units, self.fields) - self.mean) / self.scale @ self.weights + self.bias
        return foretold

    def maps(self, known: Known) -> Real:
        """Foretold maps [N,2,H,W] in nm."""
        foretold: Real = (drawn(known.raster, self.terms(known) * SIZES) + self.going_on * known.residue_below) * known.valid[:, None]
        return foretold

    def ensembles(self, known: Known, learned: Known, members: int, rng: np.random.Generator) -> Real:
        """Maps [N,M,2,H,W]: what is foretold, each with the error that was made on a wafer of the training set, drawn at random."""
        errors = learned.values - self.maps(learned)
        chosen = rng.integers(len(errors), size=(len(known.values), members))
        made: Real = (self.maps(known)[:, None] + errors[chosen]) * known.valid[:, None, None]
        return made


def parts(barcode: str) -> list[str]:
    """The first fields of a barcode, as many as are looked at."""
    return (barcode.split("|") + [""] * FIELDS)[:FIELDS]


def features(known: Known, units: Units, fields: list[list[str]]) -> Real:
    """Of each wafer [N,D]: terms of the layer below, standardised logs, which are missing, and a 1 for each known field of the barcode."""
    logs = np.clip((known.logs - np.array(units.means)) / np.array(units.deviations), -FURTHEST, FURTHEST) * known.logged
    codes = [parts(code) for code in known.barcodes]
    named = np.array([[code[place] == value for place, values in enumerate(fields) for value in values] for code in codes], np.float64)
    return np.concatenate([known.terms_below, logs, 1 - known.logged, named], 1)


def solved(z: Real, y: Real, strength: float) -> Real:
    """Ridge weights [D,K]."""
    found: Real = np.asarray(np.linalg.solve(z.T @ z + strength * np.eye(z.shape[1]), z.T @ y), np.float64)
    return found
