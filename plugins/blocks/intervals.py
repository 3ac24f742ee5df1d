"""Confidence intervals of scores, and of paired differences.

Two things are left to chance: which images were in the test set, and which of all possible trainings were run. The first is
resampled (percentile bootstrap, Efron & Tibshirani 1993, ch. 13), equal images and images of one source together: a copy, a
tile or a noisy repetition is no new evidence. The second cannot be resampled from three values, whose range it could not leave;
each resample adds a draw of Student's t with R - 1 degrees of freedom times the standard error s / sqrt(R) of the mean over R
trainings. That is exact where trainings scatter normally and images do not matter. With R = 3 the t quantile is 4.3, so such an
interval is wide, and as rough as three values are. Simulated, with three trainings that scatter half as much as images do,
nominal 95% intervals cover: images alone 66%, images and trainings resampled 85%, this construction 94.5% at twice the width of
the second. The scatter s also holds how trainings differ on these very images, which the bootstrap counts once more: a little
too wide rather than too narrow. With R = 1 only the images are covered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from . import sources as origins
from .metrics import Ratio, Real

FEWEST = origins.FEWEST
"""Sources below which no verdict is given."""
TOO_FEW = "too few sources"
EQUIVALENT, APART = "equivalent", "not told apart"
COUNTS = ("false_alarms_per_image", "false alarms ")
"""Beginnings of the names of scores that are no share: they have no largest value."""
SAME = 1e-12
"""Differences below are rounding."""
CHUNK = 2**22
"""Resampled rows that are drawn at once."""


@dataclass(frozen=True)
class Interval:
    """A score with the ends of its interval; None where undefined."""

    value: float | None
    low: float | None
    high: float | None

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Both ends, None where undefined."""
        return None if self.low is None or self.high is None else (self.low, self.high)

    def turned(self) -> Interval:
        """Of a difference the one the other way round."""
        return Interval(*(None if end is None else 0.0 - end for end in (self.value, self.high, self.low)))


def resampled(ratios: Mapping[str, Ratio], groups: NDArray[np.int64], resamples: int, draw: torch.Generator) -> dict[str, Real]:
    """Each score, a mean over its trainings, on `resamples` bootstrap samples of the images [resamples]; NaN where undefined.

    groups: [N], the number 0..G-1 of the source or distinct image that each one is; G of them are drawn, with all of their copies.
    Equal generator states give equal samples, whatever the scores: that is what pairs two predictors.
    """
    count = int(groups.max()) + 1
    tops, bottoms = (np.stack([gathered(getattr(r, side), groups) for r in ratios.values()]) for side in ("top", "bottom"))
    rows = []
    for start in range(0, resamples, per := max(CHUNK // count, 1)):
        size = min(per, resamples - start)
        weights = drawn(count, size, draw).T
        with np.errstate(invalid="ignore", divide="ignore"):
            rows.append(((tops @ weights) / (bottoms @ weights)).mean(1))
    return dict(zip(ratios, np.concatenate(rows, 1), strict=True))


def drawn(count: int, resamples: int, draw: torch.Generator) -> Real:
    """How often each of `count` groups is in each bootstrap sample [resamples,count]."""
    index = torch.randint(count, (resamples, count), generator=draw)
    weights = torch.zeros(resamples, count, dtype=torch.float64).scatter_add_(1, index, torch.ones(resamples, count, dtype=torch.float64))
    found: Real = weights.numpy()
    return found


def gathered(values: Real, groups: NDArray[np.int64]) -> Real:
    """Sums [R,G] of values [N] or [R,N] over the images of each group."""
    return np.stack([np.bincount(groups, row) for row in np.atleast_2d(values)])


def with_trainings(ratios: Mapping[str, Ratio], samples: Mapping[str, Real], draw: torch.Generator) -> dict[str, Real]:
    """The samples with the choice of training in them; as they are for a single training."""
    repeats = len(next(iter(ratios.values())).each)
    if repeats == 1:
        return dict(samples)
    resamples = len(next(iter(samples.values())))
    normal = torch.randn(repeats, resamples, generator=draw, dtype=torch.float64).numpy()
    student = normal[0] / np.sqrt((normal[1:] ** 2).mean(0))
    return {name: samples[name] + student * (r.training_sd or 0.0) / np.sqrt(repeats) for name, r in ratios.items()}


def interval(value: float | None, samples: Real, confidence: float, bounds: tuple[float, float] = (0.0, 1.0)) -> Interval:
    """Percentile interval, cut to what the score can be; samples where the score is undefined are left out."""
    known = samples[np.isfinite(samples)]
    if value is None or not len(known):
        return Interval(None, None, None)
    low, high = np.clip(np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2]), *bounds)
    return Interval(value, float(low), float(high))


EVENTS = ("detection_rate", "false_alarm_rate", "defect_sensitivity", "sensitivity ", *COUNTS)
"""Beginnings of the names of scores that count events."""


def unanimous(found: Interval, ratio: Ratio, groups: NDArray[np.int64], confidence: float) -> Interval:
    """The interval of a score that counts events, where none or every one of them happened: resamples cannot leave 0 or 1 then.

    Of G independent sources that agree, another one disagrees with a chance of up to 1 - (alpha/2)^(1/G) (Clopper & Pearson 1934).
    """
    if found.low is None or found.high is None:
        return found
    room = unseen(ratio, groups, confidence)
    if not ratio.top.any():
        return Interval(0.0, 0.0, max(room, found.high))
    if (ratio.top == ratio.bottom).all() and found.value == 1:
        return Interval(1.0, min(1 - room, found.low), 1.0)
    return found


def unseen(ratio: Ratio, groups: NDArray[np.int64], confidence: float) -> float:
    """How often sources may be of a kind that none of those that count was, 0..1: the upper bound of Clopper & Pearson for 0 of G."""
    sources = len(np.unique(groups[np.atleast_2d(ratio.bottom)[0] > 0]))
    return float(1 - ((1 - confidence) / 2) ** (1 / max(sources, 1)))


def one_sided(found: Interval, samples: Real, room: float, most: float) -> Interval:
    """The interval of a difference of rates of events, where resamples cannot leave a side of 0, or their one value.

    No source in which the model did worse does not mean that there is none: up to a share `room` of sources may be of the kind that was
    not seen, with the largest difference there can be, while the others differ as these did. So a difference of 0 in each of G sources is
    no interval [0, 0] but [-room, room]. most: the largest difference of a source; 1 for rates.
    """
    known = samples[np.isfinite(samples)]
    if found.value is None or found.low is None or found.high is None:
        return found
    low, high, same = found.low, found.high, np.ptp(known) < SAME
    if same or known.min() >= -SAME:
        low = min(low, found.value - room * (most + found.value))
    if same or known.max() <= SAME:
        high = max(high, found.value + room * (most - found.value))
    return Interval(found.value, low, high)


def difference(
    model: Mapping[str, Ratio],
    baseline: Mapping[str, Ratio],
    samples: tuple[Mapping[str, Real], Mapping[str, Real]],
    confidence: float,
    groups: NDArray[np.int64],
) -> dict[str, Interval]:
    """Model minus baseline for each score: on the same resampled images, with independent trainings. groups: as of `resampled`."""
    pairs = {}
    for name, ours in model.items():
        theirs = baseline[name].value
        value = None if ours.value is None or theirs is None else ours.value - theirs
        most, gaps = reach(name), samples[0][name] - samples[1][name]
        pairs[name] = interval(value, gaps, confidence, (-most, most))
        if name.startswith(EVENTS):
            largest = max(1.0, abs(value or 0.0))  # of a count one more, or as many as there were
            pairs[name] = one_sided(pairs[name], gaps, unseen(ours, groups, confidence), largest)
    return pairs


def reach(name: str) -> float:
    """The largest value that a score can have."""
    return np.inf if name.startswith(COUNTS) else 1.0


def verdict(gap: Interval, sources: int, margin: float | None = None) -> str:
    """What a difference with this interval shows: 'helped', 'hurt', 'too few sources', 'equivalent' where the whole interval lies within
    the margin either way (Schuirmann 1987), else 'not told apart': an interval that holds 0 alone says nothing of being the same.
    """
    if sources < FEWEST:
        return TOO_FEW
    if gap.low is None or gap.high is None:
        return APART
    if gap.low > 0 or gap.high < 0:
        return "helped" if gap.low > 0 else "hurt"
    return EQUIVALENT if within(gap, margin) else APART


def within(gap: Interval, margin: float | None) -> bool:
    """Whether a difference is shown to be smaller than the margin."""
    return margin is not None and gap.low is not None and gap.high is not None and max(-gap.low, gap.high) < margin
