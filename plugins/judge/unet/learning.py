"""What a score is worth in real images: where on a learning curve it lies."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from fabloom.plugins.blocks.intervals import Interval
from fabloom.plugins.blocks.metrics import Real

FLAT = 1e-9
"""Rise of a learning curve below which nothing can be read off it."""


def monotone(scores: Real) -> Real:
    """The nearest scores [S] by least squares that never fall as images are added (isotonic regression)."""
    fitted: Real = isotonic_regression(scores).x
    return fitted


def size_of(score: float, sizes: Sequence[int], curve: Real) -> float:
    """The number of real images at which a rising curve [S] over `sizes` [S] reaches a score, interpolated in log n.

    inf for a score that it never reaches, and -inf for one that is below its beginning: nothing is known of fewer images.
    """
    if not np.isfinite(score) or not np.isfinite(curve).all():
        return math.nan
    if score < curve[0]:
        return -math.inf
    at = int(np.searchsorted(curve, score, "left"))
    if at == len(curve):
        return math.inf
    if at == 0 or curve[at] == score:
        return float(sizes[at])
    share = (score - curve[at - 1]) / (curve[at] - curve[at - 1])
    return float(math.exp(np.interp(share, (0, 1), np.log([sizes[at - 1], sizes[at]]))))


def worth(
    value: float | None, samples: Real, size: int, sizes: Sequence[int], curve: Sequence[float | None], curves: NDArray[np.float64],
    confidence: float,
) -> Interval:  # fmt: skip
    """The size at which the curve reaches a score, minus the `size` that the recipe had: what it is worth in further real images.

    value, samples [B]: of the recipe; curve [S], curves [B,S]: of the baseline at `sizes`, on the same resamples. inf: more than the curve
    knows; -inf: less than its fewest images give. None where a score is undefined, and where more images give the baseline nothing.
    """
    if value is None or any(point is None for point in curve) or np.ptp(monotone(np.array(curve, np.float64))) < FLAT:
        return Interval(None, None, None)
    found = size_of(value, sizes, monotone(np.array(curve, np.float64))) - size
    each = np.array([size_of(score, sizes, monotone(row)) for score, row in zip(samples, curves, strict=True)]) - size
    known = each[~np.isnan(each)]
    if not len(known):
        return Interval(None, None, None)
    ends = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2], method="inverted_cdf")  # never between inf and a number
    return Interval(found, float(ends[0]), float(ends[1]))


def spelled(found: Interval, size: int, sizes: Sequence[int]) -> str:
    """'+3.2 [1.1, > 15]'; 'none' is less than the curve begins with."""
    if found.value is None or found.low is None or found.high is None:
        return "undefined"
    return f"{_number(found.value, size, sizes)} [{_number(found.low, size, sizes)}, {_number(found.high, size, sizes)}]"


def _number(value: float, size: int, sizes: Sequence[int]) -> str:
    if value == math.inf:
        return f"> {max(sizes) - size:g}" if size < max(sizes) else "off the curve"
    if value == -math.inf:
        return "none" if size == min(sizes) else f"< {min(sizes) - size:g}"
    return f"{value:+.1f}"
