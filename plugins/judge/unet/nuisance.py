"""Defects that are found where so many of the clean images may have an alarm, at thresholds that the clean images themselves set.

A clean image alarms at every threshold below its height, the highest level at which its prediction has a region that counts. So of N clean
images at most k alarm at the (k+1)-th height, and no lower threshold can be had for that. Lower thresholds find more, never less.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor

import numpy as np
from numpy.typing import NDArray

from fabloom.plugins.blocks.defects import Defects, height
from fabloom.plugins.blocks.metrics import Real

RATES = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Shares of clean images with an alarm that a report is asked for."""


def at_rate(rate: float) -> str:
    """The name of the score of single defects found at a rate."""
    return f"defect_sensitivity {rate:g}"


def thresholds(maps: NDArray[np.float32], clean: NDArray[np.bool_], rates: Sequence[float], min_area: int) -> list[float]:
    """The lowest level above which at most each share of the clean images [N] of maps [N,H,W] has a region of `min_area`; -inf: all may."""
    heights = sorted((height(one, min_area) for one in maps[clean]), reverse=True)
    allowed = [floor(rate * len(heights) + 1e-9) for rate in rates]
    return [heights[count] if count < len(heights) else -np.inf for count in allowed]


def found(maps: NDArray[np.float32], clean: NDArray[np.bool_], defects: Defects, rates: Sequence[float], min_area: int) -> Real:
    """Which defects [R,D] are found at each rate, of maps [N,H,W] and clean images [N]."""
    levels = thresholds(maps, clean, rates, min_area)
    return np.stack([defects.met(maps > level, min_area)[0] for level in levels]).astype(np.float64)
