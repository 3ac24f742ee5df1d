"""One generator after another on the same wafers, scored alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fabloom.kinds import Table
from fabloom.plugins.blocks.intervals import interval, resampled
from fabloom.plugins.blocks.metrics import Ratio
from fabloom.plugins.blocks.overlay.fitting import fitted
from fabloom.plugins.blocks.overlay.terms import NAMES, SIZES, TERMS, Real
from fabloom.plugins.blocks.streams import stream

from . import scores
from .known import Known
from .rivals import Ridge

RESAMPLES, CONFIDENCE = 2000, 0.95


@dataclass(frozen=True)
class Entry:
    """One generator: members [N,M,2,H,W] in nm, and the sigma [N,2,H,W] that it predicts, where it does."""

    members: Real
    sigma: Real | None = None

    @cached_property
    def mean(self) -> Real:
        """Of the members, [N,2,H,W]."""
        mean: Real = self.members.mean(1)
        return mean

    @property
    def several(self) -> bool:
        """Whether it is an ensemble."""
        return len(self.members[0]) > 1

    @cached_property
    def deviation(self) -> Real:
        """Of the members, [N,2,H,W]; of an ensemble alone."""
        deviation: Real = self.members.std(1, ddof=1)
        return deviation


def explainable(known: Known, ridge: Ridge) -> NDArray[np.bool_]:
    """Which terms can be foretold [K]: by the part of simulated ones that is told, else by ridge regression."""
    foretold = ridge.terms(known) if known.told is None else known.told
    mask: NDArray[np.bool_] = scores.r2(foretold, known.terms) >= scores.EXPLAINED
    return mask


@dataclass(frozen=True)
class Judge:
    """Scores of generators on known wafers; R2 is of the terms that can be foretold, `explained` [K]."""

    known: Known
    explained: NDArray[np.bool_]

    @cached_property
    def real(self) -> scores.Look:
        """How the measured maps look."""
        return scores.Look.of(self.known.raster, self.known.values, self.known.valid)

    @cached_property
    def seams(self) -> float:
        """Of the measured maps."""
        return scores.seams(self.known.raster, self.known.values, self.known.valid)

    @cached_property
    def groups(self) -> NDArray[np.int64]:
        """Number of the lot of each wafer, from 0 [N]."""
        return np.unique(self.known.lots, return_inverse=True)[1].astype(np.int64)

    def terms(self, entry: Entry) -> Real:
        """R2 of each term of the mean map [K]."""
        return scores.r2(fitted(self.known.raster, entry.mean, self.known.valid) / SIZES, self.known.terms)

    def each(self, entry: Entry) -> dict[str, Real]:
        """Scores that are means over wafers, of each [N]."""
        return {"rmse": scores.rmse(entry.mean, self.known), "crps": scores.crps(entry.members, self.known)}

    def scores(self, entry: Entry) -> dict[str, float | None]:
        """All others; of how maps look by the first member of each wafer. R2 is None where no term can be foretold."""
        known, one = self.known, entry.members[:, 0]
        foretold, look = self.terms(entry)[self.explained], scores.Look.of(known.raster, one, known.valid)
        valid = np.broadcast_to(known.valid[:, None], one.shape)
        bands = (look.bands.mean(0) / self.real.bands.mean(0)).tolist()
        wider = np.sqrt(1 + 1 / entry.members.shape[1])  # the mean of so many errs too
        return {
            "r2": float(foretold.mean()) if len(foretold) else None,
            "r2_least": float(foretold.min()) if len(foretold) else None,
            "coverage": scores.coverage(entry.mean, wider * entry.deviation, known) if entry.several else None,
            "fd": self.real.distance(look),
            "fd_terms": self.real.distance_of_terms(look),
            "deviation": float(one[valid].std() / known.values[valid].std()),
            **dict(zip(("low", "middle", "high"), bands, strict=True)),
            "correlation": scores.correlation(look.rest, known.residue_below),
            "seams": scores.seams(known.raster, one, known.valid) / self.seams,
        }

    def interval(self, each: Real, seed: int, least: float = 0.0) -> tuple[float, float] | None:
        """95 % interval of a mean over wafers [N] that is at `least` this, lots resampled; None where there is one lot."""
        if self.groups.max() < 1:
            return None
        drawn = resampled({"mean": Ratio(each, np.ones_like(each))}, self.groups, RESAMPLES, stream(seed, "lots"))
        return interval(float(each.mean()), drawn["mean"], CONFIDENCE, (least, np.inf)).bounds

    def term_table(self, entries: Mapping[str, Entry]) -> Table:
        """R2 of each term, a row each."""
        columns = {name: self.terms(entry) for name, entry in entries.items()}
        if self.known.told is not None:
            columns = {"can be foretold": scores.r2(self.known.told, self.known.terms)} | columns
        rows = [
            (NAMES[k], TERMS[k].unit, "yes" if self.explained[k] else "no", *(round(float(values[k]), 3) for values in columns.values()))
            for k in range(len(NAMES))
        ]
        return Table(("term", "unit", "in R2 of terms", *columns), rows)
