"""Metrics as tables: nested numbers become comparisons, and a value and its confidence interval become one cell.

{"synthetic": {"iou": 0.71, "iou_ci": [0.66, 0.75]}, "baseline": {"iou": 0.55}}
    ->  a comparison with the columns synthetic and baseline and the row "iou": 0.71 [0.66, 0.75] | 0.55
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

INTERVAL = "_ci"
MAIN_METRICS = ("iou_defect", "iou", "auroc", "accuracy", "f1", "mse_ratio")
"""Metrics that a headline takes first; after them any with an interval, then any."""

LOWER_IS_BETTER = ("mse_ratio",)

CONTROLS = (
    "baseline",
    "published",
    "reference",
    "control",
    "shuffled",
    "mean",
    "random",
    "chance",
    "noise",
    "nothing",
    "none",
    "difference",
)
"""Words in the names of what a result is held against, in the order of their columns, after the result itself."""

SPELLING = {word.lower(): word for word in ("IoU", "MSE", "SNR", "LPIPS", "SSIM", "PSNR", "AUROC", "FID", "F1")}


@dataclass(frozen=True)
class Estimate:
    """A metric, with the bounds of its interval where it has one."""

    value: Any
    low: float | None = None
    high: float | None = None

    @property
    def known(self) -> bool:
        """True for a finite number."""
        return is_number(self.value)

    def __str__(self) -> str:
        if self.low is None or self.high is None or not self.known:
            return number(self.value)
        width = abs(self.high - self.low)
        digits = max(2 if abs(self.value) < 100 else 0, min(6, math.ceil(-math.log10(width / 5))) if width > 0 else 2)
        return f"{self.value:,.{digits}f} [{self.low:,.{digits}f}, {self.high:,.{digits}f}]"


@dataclass(frozen=True)
class Comparison:
    """Metrics by row, what they were measured on by column. Plain facts have the one column `value`."""

    title: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[Estimate | None, ...]]

    @property
    def compares(self) -> bool:
        """True where siblings stand beside each other."""
        return len(self.columns) > 1


def is_number(value: Any) -> bool:
    """True for a finite int or float that is no bool."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def number(value: Any) -> str:
    """A JSON value for reading: three digits that count, an en dash for what is undefined.

    >>> number(0.71234), number(1234567), number(None), number(0.0000123)
    ('0.712', '1,234,567', '–', '1.23e-05')
    """
    if isinstance(value, float):
        return _decimal(value)
    if value is None or isinstance(value, bool):
        return {None: "–", True: "yes", False: "no"}[value]
    if isinstance(value, int):
        return f"{value:,}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _decimal(value: float) -> str:
    size = abs(value)
    if not math.isfinite(value) or value == 0:
        return "0" if value == 0 else str(value)
    if size >= 1e6 or size < 1e-3:
        return f"{value:.3g}"
    return f"{value:,.0f}" if size >= 1000 else f"{value:.3g}" if size >= 1 else f"{value:.3f}"


def words(name: str) -> str:
    """A metric's name for reading: `iou_defect` is 'IoU defect'."""
    return " ".join(SPELLING.get(word, word) for word in str(name).replace("_", " ").split(" "))


def comparisons(metrics: Mapping[str, Any], title: str = "") -> list[Comparison]:
    """Tables of nested metrics: sibling mappings that share most of their keys first, then the single facts."""
    nested = {str(name): value for name, value in metrics.items() if isinstance(value, Mapping)}
    found: list[Comparison] = []
    for family in _families({name: _estimates(value) for name, value in nested.items()}):
        names = sorted(family, key=_rank)
        if len(names) > 1:
            rows = sorted({row: None for name in names for row in family[name]}, key=lambda row: _importance(row, family.values()))
            found.append(Comparison(title, tuple(names), {row: tuple(family[name].get(row) for name in names) for row in rows}))
        else:
            found += comparisons(nested[names[0]], f"{title} / {names[0]}" if title else names[0])
    facts = _estimates({name: value for name, value in metrics.items() if not isinstance(value, Mapping)})
    if facts:
        found.append(Comparison(title, ("value",), {name: (estimate,) for name, estimate in facts.items()}))
    return sorted(found, key=lambda block: not block.compares)


def _estimates(metrics: Mapping[str, Any], prefix: str = "") -> dict[str, Estimate]:
    """All leaves by their path, with `x_ci` folded into `x`."""
    found: dict[str, Estimate] = {}
    for name, value in metrics.items():
        if isinstance(value, Mapping):
            found.update(_estimates(value, f"{prefix}{name} / "))
        elif not (name.endswith(INTERVAL) and name.removesuffix(INTERVAL) in metrics):
            pair = metrics.get(f"{name}{INTERVAL}")
            bounded = isinstance(pair, Sequence) and len(pair) == 2 and all(is_number(bound) for bound in pair)
            found[f"{prefix}{name}"] = Estimate(value, *pair) if bounded and pair is not None else Estimate(value)
    return found


def _families(siblings: Mapping[str, dict[str, Estimate]]) -> list[dict[str, dict[str, Estimate]]]:
    """Siblings put together where they share at least half of the smaller one's keys."""
    families: list[dict[str, dict[str, Estimate]]] = []
    for name, keys in siblings.items():
        for family in families:
            first = next(iter(family.values()))
            if 2 * len(first.keys() & keys.keys()) >= min(len(first), len(keys)) > 0:
                family[name] = keys
                break
        else:
            families.append({name: keys})
    return families


def _rank(name: str) -> int:
    """Place of a column: the result, then what it is held against. A store keeps no order of names, so words must tell."""
    return next((place for place, word in enumerate(CONTROLS, start=1) if word in name.lower()), 0)


def _importance(row: str, columns: Iterable[Mapping[str, Estimate]]) -> tuple[int, bool]:
    place = MAIN_METRICS.index(row) if row in MAIN_METRICS else len(MAIN_METRICS)
    return place, all(column.get(row, Estimate(None)).low is None for column in columns)


@dataclass(frozen=True)
class Headline:
    """The main metric of a report: its name, and the result followed by what it is held against."""

    metric: str
    entries: tuple[tuple[str, Estimate], ...]

    def __str__(self) -> str:
        first, *others = self.entries
        told = [f"{estimate} for {words(name)}" for name, estimate in others]
        against = " and ".join(filter(None, (", ".join(told[:-1]), *told[-1:])))
        sentence = f"{words(self.metric)} is {first[1]}"
        if first[0]:
            sentence += f" for {words(first[0])}"
        return f"{sentence}, against {against}." if against else f"{sentence}."

    def verdict(self) -> str:
        """What the intervals of the first two say about each other, or nothing."""
        if len(self.entries) < 2 or any(e.low is None or e.high is None for _, e in self.entries[:2]):
            return ""
        (name, a), (other, b) = self.entries[:2]
        if (a.low or 0) > (b.high or 0) or (b.low or 0) > (a.high or 0):
            return f"The intervals of {words(name)} and {words(other)} do not overlap."
        return f"The intervals of {words(name)} and {words(other)} overlap: on this many images the difference may be chance."


def _best_first(metric: str, entries: list[tuple[str, Estimate]]) -> tuple[tuple[str, Estimate], ...]:
    """Of several results the best few, best first where that is known of the metric; then what they are held against."""
    results, controls = ([e for e in entries if bool(_rank(e[0])) is held] for held in (False, True))
    if metric in MAIN_METRICS:
        results.sort(key=lambda entry: entry[1].value, reverse=metric not in LOWER_IS_BETTER)
    return (*results[: 2 if controls else len(results)], *controls)


def headline(metrics: Mapping[str, Any]) -> Headline | None:
    """The number to read first: from the first comparison if there is one, else the first fact. None without a number."""
    for block in comparisons(metrics):
        for row, estimates in sorted(block.rows.items(), key=lambda item: _importance(item[0], [{item[0]: e} for e in item[1] if e])):
            named = zip(block.columns, estimates, strict=True)
            entries = [(name, e) for name, e in named if e is not None and e.known and "difference" not in name]
            if entries:
                return Headline(row, _best_first(row, entries) if block.compares else (("", entries[0][1]),))
    return None
