"""`Metric`: a number of a report that says what it is, so that nobody has to guess from its name.

metrics = {"model": {"iou": Metric(0.71, (0.66, 0.75), better="up", role="headline")},
           "baseline": {"iou": Metric(0.55, (0.49, 0.60), better="up", role="control")}, "images": 400}

plain(metrics)      {"model": {"iou": 0.71, "iou_ci": [0.66, 0.75]}, "baseline": {...}, "images": 400}
facts(metrics)      {"model": {"iou": {"better": "up", "role": "headline"}}, "baseline": {...}}
described(plain, facts) gives a Metric for each number again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from fabloom.errors import DataError

Better = Literal["up", "down"]
Role = Literal["headline", "control", "detail"]
INTERVAL = "_ci"
"""Ending of the name under which the interval of a number stands beside it."""


@dataclass(frozen=True)
class Metric:
    """A number with what a reader must know of it.

    `value`: a finite number, None where undefined. `interval`: (low, high), None where unknown. `better`: "up" where more is better,
    "down" where less is, None where neither. `role`: "headline" for the result that a report is written for (one name; several
    results of that name compete), "control" for what it is held against, "detail" for the rest. A control belongs to the metric of
    its own name; `of` names that metric where it is another, as for anchors: Metric(9.0, role="control", of="mean"). `label` is
    what a table calls it, where its name does not say it; `meaning` a sentence that explains it to who does not know it.

    Raises DataError for an interval that is no pair of ascending finite numbers, and for another `better` or `role`.
    """

    value: Any
    interval: tuple[float, float] | None = None
    unit: str = ""
    better: Better | None = None
    role: Role = "detail"
    of: str = ""
    label: str = ""
    meaning: str = ""

    def __post_init__(self) -> None:
        if self.better not in (None, *get_args(Better)):
            raise DataError(f"a metric is better 'up', 'down' or None, not {self.better!r}")
        if self.role not in get_args(Role):
            raise DataError(f"the role of a metric is {', '.join(get_args(Role))}, not {self.role!r}")
        if self.interval is not None:
            if not is_interval(self.interval):
                raise DataError(f"the interval of a metric is (low, high) of finite numbers, not {self.interval!r}; None where unknown")
            object.__setattr__(self, "interval", tuple(float(bound) for bound in self.interval))

    @property
    def known(self) -> bool:
        """True for a finite number."""
        return is_number(self.value)


def is_number(value: Any) -> bool:
    """True for a finite int or float that is no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def is_interval(value: Any) -> bool:
    """True for two finite numbers, the first not above the second."""
    pair = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2 and all(map(is_number, value))
    return pair and value[0] <= value[1]


def plain(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Nested numbers: each Metric as its value, its interval beside it as `NAME_ci`. Raises DataError where that name is taken."""
    found: dict[str, Any] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            found[name] = plain(value)
        elif isinstance(value, Metric):
            found[name] = value.value
            if value.interval is not None:
                if f"{name}{INTERVAL}" in metrics:
                    raise DataError(f"metric '{name}' has an interval, and '{name}{INTERVAL}' is given beside it; leave one out")
                found[f"{name}{INTERVAL}"] = list(value.interval)
        else:
            found[name] = value
    return found


def facts(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What each Metric says beyond value and interval, nested as they are; what is said of nothing is left out."""
    found: dict[str, Any] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            said = facts(value)
        elif isinstance(value, Metric):
            told = ((f.name, f.default, getattr(value, f.name)) for f in fields(Metric) if f.name not in ("value", "interval"))
            said = {field: given for field, default, given in told if given != default}
        else:
            said = {}
        if said:
            found[name] = said
    return found


def described(metrics: Mapping[str, Any], said: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Nested names to a Metric each: of Metrics and plain values alike, with `x_ci` folded into `x`, and with what `facts` said."""
    found: dict[str, Any] = {}
    for name, value in metrics.items():
        own = (said or {}).get(name, {})  # a newer fabloom may have said more than this one knows
        if isinstance(value, Mapping):
            found[name] = described(value, own)
        elif isinstance(value, Metric):
            found[name] = value
        elif not (name.endswith(INTERVAL) and name.removesuffix(INTERVAL) in metrics):
            beside = metrics.get(f"{name}{INTERVAL}")
            known = {field.name: own[field.name] for field in fields(Metric) if field.name in own}
            found[name] = Metric(value, (beside[0], beside[1]) if is_interval(beside) else None, **known)  # type: ignore[index]
    return found


def check_headline(metrics: Mapping[str, Any]) -> None:
    """Raise DataError where metrics of two names are headlines: nothing could say which of them the report is about."""
    names = {path[-1] for path, metric in leaves(described(metrics)).items() if metric.role == "headline"}
    if len(names) > 1:
        raise DataError(f"a report has one headline metric, not {len(names)}: {', '.join(sorted(names))}; give the others role 'detail'")


def leaves(metrics: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Metric]:
    """Each Metric of nested ones by its path."""
    found: dict[tuple[str, ...], Metric] = {}
    for name, value in metrics.items():
        found |= leaves(value, (*path, str(name))) if isinstance(value, Mapping) else {(*path, str(name)): value}
    return found
