"""From a score of every image to a mean, its interval, and its ratio to the reference pair."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fabloom.kinds import Metric, Table
from fabloom.kinds.metric import Better, Role
from fabloom.plugins.blocks.difference import Real

Metrics = dict[str, Any]
Interval = tuple[float, float] | None


@dataclass(frozen=True)
class Summary:
    """Means with percentile bootstrap intervals (Efron & Tibshirani 1993, ch. 13), the same resamples for all scores."""

    seed: int
    resamples: int
    confidence: float

    def interval(self, values: Real) -> Interval:
        """Interval of the mean of values [N]; None for a single value."""
        return self._ends(values, np.ones(len(values)))

    def _ends(self, tops: Real, bottoms: Real) -> Interval:
        """Interval of the sum of one over that of the other, both [N]; resamples in which it is not defined are left out."""
        count = len(tops)
        if count < 2:
            return None
        drawn = np.random.default_rng(self.seed).multinomial(count, np.full(count, 1 / count), size=self.resamples)
        below = drawn @ bottoms
        low, high = np.quantile((drawn @ tops)[below > 0] / below[below > 0], [(1 - self.confidence) / 2, (1 + self.confidence) / 2])
        return float(low), float(high)

    def share(self, tops: Real, bottoms: Real, better: Better | None = None) -> Metric:
        """Sum of tops [N] over sum of bottoms [N], resampled by image. Where all or none of a kind were seen, resamples cannot leave that:
        of G images that agree, another one disagrees with a chance of up to 1 - (alpha/2)^(1/G) (Clopper, Pearson 1934).
        """
        counted = int((bottoms > 0).sum())
        if not counted:
            return Metric(None, better=better)
        value, ends = float(tops.sum() / bottoms.sum()), self._ends(tops, bottoms)
        room = 1 - ((1 - self.confidence) / 2) ** (1 / counted)
        if ends is not None and not tops.any():
            ends = (0.0, max(room, ends[1]))
        elif ends is not None and (tops == bottoms).all():
            ends = (min(1 - room, ends[0]), 1.0)
        return Metric(value, ends, better=better)

    def mean(self, name: str, values: Real, better: Better | None = None, role: Role = "detail") -> dict[str, Metric]:
        """{name: the mean with its interval}."""
        return {name: Metric(float(values.mean()), self.interval(values), better=better, role=role)}

    def distance(self, values: Real, pair: float | None) -> Metrics:
        """A distance to the reference: as `score`, and times 100."""
        return {**self.score(values, pair), **self.mean("x100", 100 * values)}

    def score(self, values: Real, pair: float | None) -> Metrics:
        """Raw, and over that of the reference pair where there is one that is not 0; population deviation over images."""
        found = {**self.mean("raw", values), "sd": float(values.std())}
        if pair:
            found |= {**self.mean("ratio", values / pair), "ratio_sd": float(values.std() / pair), "pair": pair}
        return found


@dataclass
class Findings:
    """What goes into the report, and by which distance images are called near."""

    metrics: Metrics
    notes: list[str] = field(default_factory=list)
    tables: dict[str, Table] = field(default_factory=dict)
    pictures: dict[str, NDArray[np.uint8]] = field(default_factory=dict)
    nearness: tuple[str, Real] | None = None
