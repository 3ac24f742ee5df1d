"""What a generator of overlay maps must beat: ridge regression on everything that is told, and terms drawn without being told anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np

from fabloom.plugins.blocks.overlay.fitting import drawn
from fabloom.plugins.blocks.overlay.terms import SIZES, Real
from fabloom.plugins.overlay.ikddit.material import Units

from .known import Known

STRENGTHS = np.logspace(-1, 4, 11)


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
    carried: float

    @classmethod
    def of(cls, known: Known, units: Units) -> Self:
        """Learned from wafers of these units; the strength is the one that foretells their last lots best."""
        fields = [sorted(set(column)) for column in zip(*(parts(code, units.group_parts) for code in known.barcodes), strict=True)]
        x = features(known, units, fields)
        mean, scale, bias = x.mean(0), x.std(0) + 1e-9, known.terms.mean(0)
        z, y = (x - mean) / scale, known.terms - bias
        last = np.isin(known.lots, np.unique(known.lots)[-max(1, len(np.unique(known.lots)) // 10) :])
        errors = [float(np.square(z[last] @ solved(z[~last], y[~last], strength) - y[last]).mean()) for strength in STRENGTHS]
        rest, below = known.residue, known.residue_below
        carried = float((rest * below).sum() / np.square(below).sum())
        return cls(units, fields, mean, scale, solved(z, y, STRENGTHS[int(np.argmin(errors))]), bias, carried)

    def terms(self, known: Known) -> Real:
        """Foretold terms [N,K] in usual sizes."""
        foretold: Real = (features(known, self.units, self.fields) - self.mean) / self.scale @ self.weights + self.bias
        return foretold

    def maps(self, known: Known) -> Real:
        """Foretold maps [N,2,H,W] in nm."""
        foretold: Real = (drawn(known.raster, self.terms(known) * SIZES) + self.carried * known.residue_below) * known.valid[:, None]
        return foretold

    def ensembles(self, known: Known, learned: Known, members: int, rng: np.random.Generator) -> Real:
        """Maps [N,M,2,H,W]: what is foretold, each with the error that was made on a wafer of the training set, drawn at random."""
        errors = learned.values - self.maps(learned)
        chosen = rng.integers(len(errors), size=(len(known.values), members))
        made: Real = (self.maps(known)[:, None] + errors[chosen]) * known.valid[:, None, None]
        return made


def climatology(known: Known, learned: Known, members: int, rng: np.random.Generator) -> Real:
    """Maps [N,M,2,H,W] of terms from a normal distribution of those of the training set, whatever a wafer is told by, and nothing else."""
    terms = rng.multivariate_normal(learned.terms.mean(0), np.cov(learned.terms.T), (len(known.values), members))
    maps = drawn(known.raster, terms.reshape(-1, terms.shape[-1]) * SIZES)
    made: Real = maps.reshape(*terms.shape[:2], *maps.shape[1:]) * known.valid[:, None, None]
    return made


def parts(barcode: str, count: int) -> list[str]:
    """The first so many fields of a barcode, '' where it has fewer."""
    return (barcode.split("|") + [""] * count)[:count]


def features(known: Known, units: Units, fields: list[list[str]]) -> Real:
    """Of each wafer [N,D]: terms of the layer below, standardised logs, which are missing, and a 1 for each known field of the barcode."""
    codes = [parts(code, units.group_parts) for code in known.barcodes]
    named = np.array([[code[place] == value for place, values in enumerate(fields) for value in values] for code in codes], np.float64)
    return np.concatenate([known.terms_below, units.standardised(known.logs, known.logged), 1 - known.logged, named], 1)


def solved(z: Real, y: Real, strength: float) -> Real:
    """Ridge weights [D,K]."""
    found: Real = np.asarray(np.linalg.solve(z.T @ z + strength * np.eye(z.shape[1]), z.T @ y), np.float64)
    return found
