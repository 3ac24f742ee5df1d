"""From a score of every image to a mean, its interval, and its ratio to the reference pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fabloom.kinds import Metric
from fabloom.kinds.metric import Better, Role
from fabloom.plugins.blocks.difference import Real

Metrics = dict[str, Any]


@dataclass(frozen=True)
class Summary:
    """Means with percentile bootstrap intervals (Efron & Tibshirani 1993, ch. 13), the same resamples for all scores."""

    seed: int
    resamples: int
    confidence: float

    def interval(self, values: Real) -> tuple[float, float] | None:
        """Interval of the mean of values [N]; None for a single value."""
        count = len(values)
        if count < 2:
            return None
        drawn = np.random.default_rng(self.seed).multinomial(count, np.full(count, 1 / count), size=self.resamples)
        low, high = np.quantile(drawn @ values / count, [(1 - self.confidence) / 2, (1 + self.confidence) / 2])
        return float(low), float(high)

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
