"""The gate: whether a challenger may take the champion's place. Pure functions of a report's numbers.

A condition is on the paired difference, challenger minus champion, and holds where the whole interval of it lies on the right side of
the margin: a gate that looked at the value alone would promote noise every other night. What cannot be judged is not promoted.

An interval without width says that every source gave the same difference, and nothing about how far another one may be from it. So it
holds no condition: two networks that mark no pixel of eight clean files would else be equal to any margin. Rates of events have an exact
bound there (`unet.evaluate`), so a condition may name one that decides in its place.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from fabloom.errors import did_you_mean
from fabloom.kinds import Metric
from fabloom.kinds.metric import leaves

from .spec import Condition

DIFFERENCE = "difference"
"""Where a report has the paired differences."""
SOURCES = ("sources", "defect_sources")
"""Where it has from how many independent sources its images come, and those with a defect; a report may have one of them."""
FEWEST = 6
"""Sources below which nothing is promoted: that 5 of 5 lie on one side of 0 has a chance of 2 / 2^5 > 0.05 (sign test). It is
meant for intervals of 95 %: those of 99 % would need eight."""
SAME = 1e-12
"""Width up to which an interval has none: the rest is rounding."""


@dataclass(frozen=True)
class Verdict:
    """What became of one condition; `why` is a sentence, also where it holds. `interval` is (low, high), None where unknown."""

    metric: str
    wanted: str
    value: float | None
    interval: tuple[float, float] | None
    margin: float
    better: str
    passed: bool
    why: str

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {**asdict(self), "interval": list(self.interval) if self.interval else None}


def judge(gate: Sequence[Condition], report: Mapping[str, Any], challenger: str = "model") -> list[Verdict]:
    """A verdict for each condition, on the described metrics of a report in which `challenger` names the challenger's own group."""
    differences, ours, sources = _group(report, DIFFERENCE), _group(report, challenger), sources_of(report)
    alone = [_verdict(one, differences, ours, sources) for one in gate]
    return [_verdict(one, differences, ours, sources, [v for v in alone if v.metric == one.events]) for one in gate]


def judge_first(minimum: Mapping[str, float], report: Mapping[str, Any], challenger: str = "model") -> list[Verdict]:
    """A verdict for each bound that the first challenger's own score must keep: from above where less is better, else from below."""
    ours, sources = _group(report, challenger), sources_of(report)
    found = []
    for name, bound in minimum.items():
        better = "down" if name in ours and ours[name].better == "down" else "up"
        found.append(_made(name, ours.get(name), bound, bound, better, _hindrance(name, ours, sources)))
    return found


def sources_of(report: Mapping[str, Any]) -> int | None:
    """The number of independent sources that a report says its intervals resample, of images with a defect where it counts those; None
    where it does not say.
    """
    told = [one.value if isinstance(one := report.get(name), Metric) else one for name in SOURCES]
    return min((value for value in told if isinstance(value, int) and not isinstance(value, bool)), default=None)


def headline_of(report: Mapping[str, Any], challenger: str, champion: str, otherwise: str) -> dict[str, Any]:
    """The score that a report is about, of challenger and champion as plain data; of the metric `otherwise` where it names none; or {}."""
    ours = _group(report, challenger)
    name = next((name for name, metric in ours.items() if metric.role == "headline"), otherwise)
    if name not in ours:
        return {}
    theirs = _group(report, champion).get(name)
    found = {"metric": name, "unit": ours[name].unit, "better": ours[name].better, "challenger": _plain(ours[name])}
    return {**found, "champion": None if theirs is None else _plain(theirs)}


def _plain(metric: Metric) -> dict[str, Any]:
    return {"value": _finite(metric.value), "interval": list(metric.interval) if metric.interval else None}


def _verdict(
    asked: Condition, found: Mapping[str, Metric], ours: Mapping[str, Metric], sources: int | None, events: Sequence[Verdict] = ()
) -> Verdict:
    said = ours[asked.metric].better if asked.metric in ours else None
    better = asked.better or said or "up"
    why = _hindrance(asked.metric, found, sources)
    if not why and asked.better is None and said is None:
        why = f"neither the gate nor the report says whether more or less of {asked.metric} is better"
    if not why and said is not None and said != better:
        why = f"the gate takes {asked.metric} for better {better}, the report for better {said}"
    return _made(asked.metric, found.get(asked.metric), asked.bound(better), asked.margin, better, why, events)


def _hindrance(name: str, found: Mapping[str, Metric], sources: int | None) -> str:
    """Why nothing can be said of a metric; '' where something can."""
    if name not in found:
        return f"the evaluation has no {name}.{did_you_mean(name, found)}"
    if _finite(found[name].value) is None:
        return f"{name} is undefined"
    if _interval(found[name]) is None:
        return f"{name} has no interval"
    if sources is None:
        return f"nothing says from how many independent sources the images of {name} come"
    if sources < FEWEST:
        return f"the held-out images come from {sources} source{'s' * (sources != 1)}, and fewer than {FEWEST} show nothing about others"
    return ""


def _made(name: str, metric: Metric | None, bound: float, margin: float, better: str, why: str, events: Sequence[Verdict] = ()) -> Verdict:
    """The verdict, where nothing hinders it by whether the whole interval lies beyond the bound; an end that touches it does not.

    events: verdicts that decide in its place where the interval has no width.
    """
    value, interval = (None, None) if metric is None else (_finite(metric.value), _interval(metric))
    wanted = f"{'below' if better == 'down' else 'above'} {bound:g}"
    passed = False
    if not why and interval is not None:
        low, high = interval
        if high - low <= SAME:
            return Verdict(
                name, wanted, value, interval, margin, better, *_unmeasured(f"{name} {value:.4g} [{low:.4g}, {high:.4g}]", events)
            )
        passed = high < bound if better == "down" else low > bound
        lies = "lies" if passed else "does not lie"
        why = f"{name} {value:.4g} [{low:.4g}, {high:.4g}] {lies} {wanted} with its whole interval"
    return Verdict(name, wanted, value, interval, margin, better, passed, why)


def _unmeasured(told: str, events: Sequence[Verdict]) -> tuple[bool, str]:
    """Whether a condition holds of which nothing with any spread is known, and why."""
    same = f"{told} has no width: every source gave the same, which shows nothing about others"
    if events:
        return all(one.passed for one in events), f"{same}, so {events[0].metric} decides: {'; '.join(one.why for one in events)}"
    return False, f"{same}. Ask a rate of events instead, as false_alarm_rate, or name one as its `events`"


def _interval(metric: Metric) -> tuple[float, float] | None:
    return metric.interval if metric.interval is not None and all(map(math.isfinite, metric.interval)) else None


def _finite(value: Any) -> float | None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number else None


def _group(report: Mapping[str, Any], name: str) -> dict[str, Metric]:
    """The metrics right under a group by name."""
    group = report.get(name)
    return {path[0]: metric for path, metric in leaves(group).items() if len(path) == 1} if isinstance(group, Mapping) else {}
