"""Metrics as tables and words: nested ones become comparisons, and the headline holds a result against controls of the same metric.

{"synthetic": {"iou": 0.71, "iou_ci": [0.66, 0.75]}, "baseline": {"iou": 0.55}}
    ->  a comparison with the columns synthetic and baseline and the row "iou": 0.71 [0.66, 0.75] | 0.55

What is a result, what a control and which way is better is what each `Metric` says of itself; of plain numbers nothing is claimed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fabloom.kinds.metric import Metric, described, leaves

SPELLING = {word.lower(): word for word in ("IoU", "MSE", "SNR", "LPIPS", "SSIM", "PSNR", "AUROC", "FID", "F1", "SIFID")}
ARROWS = {"up": " ↑", "down": " ↓", None: ""}
RESULT = "result"
"""Column of a report's own numbers beside controls that stand in groups of their own."""
FLOOR = "nothing"
"""Control that finds nothing at all. It stands in the tables; to be above it is no success, so that no sentence boasts of it."""

Path = tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Metrics by row, what they were measured on by column: results first. Plain facts have the one column `value`."""

    title: str
    columns: tuple[str, ...]
    rows: Mapping[str, tuple[Metric | None, ...]]

    @property
    def compares(self) -> bool:
        """True where siblings stand beside each other."""
        return len(self.columns) > 1

    def label(self, row: str) -> str:
        """The name of a row for reading, with its unit and the direction that is better."""
        first = next((metric for metric in self.rows[row] if metric is not None), Metric(None))
        return f"{first.label or words(row)}{f', {first.unit}' if first.unit else ''}{ARROWS[first.better]}"

    @property
    def meanings(self) -> dict[str, str]:
        """What its metrics mean, by label, as far as their author says it."""
        said = (
            (row, next((metric for metric in cells if metric is not None and metric.meaning), None)) for row, cells in self.rows.items()
        )
        return {metric.label or words(row): metric.meaning for row, metric in said if metric is not None}


def told(metric: Metric | None) -> str:
    """A metric for reading: '0.71 [0.66, 0.75]', to the digits that its interval leaves; an en dash where undefined."""
    if metric is None or metric.interval is None or not metric.known:
        return number(None if metric is None else metric.value)
    low, high = metric.interval
    width = high - low
    digits = max(2 if abs(metric.value) < 100 else 0, min(6, math.ceil(-math.log10(width / 5))) if width > 0 else 2)
    return f"{metric.value:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"


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
    """Tables of nested metrics: sibling groups that share most of their names first, then the single facts."""
    return sorted(_tables(described(metrics), title, {}), key=lambda block: not block.compares)


def _tables(metrics: Mapping[str, Any], title: str, above: Mapping[str, Metric]) -> list[Comparison]:
    """Of one level of groups; `above` are the metrics of the level over it."""
    groups = {str(name): value for name, value in metrics.items() if isinstance(value, Mapping)}
    own = {str(name): value for name, value in metrics.items() if isinstance(value, Metric)}
    found: list[Comparison] = []
    for family in _families({name: {" / ".join(path): metric for path, metric in leaves(group).items()} for name, group in groups.items()}):
        held = all(_place(column) == CONTROL for column in family.values()) and _alike(above, next(iter(family.values())))
        if held or len(family) > 1:
            found.append(_beside(title, {RESULT: above, **family} if held else family))
        else:
            (name,) = family
            found += _tables(groups[name], f"{title} / {name}" if title else name, own)
    if own:
        found.append(Comparison(title, ("value",), {name: (own[name],) for name in sorted(own, key=lambda n: own[n].role != "headline")}))
    return found


def _beside(title: str, family: Mapping[str, Mapping[str, Metric]]) -> Comparison:
    """Columns beside each other, each with its metrics by row."""
    names = sorted(family, key=lambda name: (-1 if name == RESULT else _place(family[name]), _first_number(name)))
    rows = sorted({row: None for name in names for row in family[name]}, key=lambda row: _importance(row, family))
    return Comparison(title, tuple(names), {row: tuple(family[name].get(row) for name in names) for row in rows})


def _first_number(name: str) -> float:
    """The number that a name begins with, so that '5 real' stands before '20 real'; 0 without one."""
    found = re.match(r"\d+(\.\d+)?", name)
    return float(found[0]) if found else 0.0


LEAD, CONTROL, DETAIL = range(3)


def _place(column: Mapping[str, Metric]) -> int:
    """Where a column stands: results, what they are held against, anything else."""
    roles = {metric.role for metric in column.values()}
    return LEAD if "headline" in roles else CONTROL if "control" in roles else DETAIL


def _alike(first: Mapping[str, Metric], second: Mapping[str, Metric]) -> bool:
    """Whether two columns share at least half of the names of the smaller."""
    return 2 * len(first.keys() & second.keys()) >= min(len(first), len(second)) > 0


def _families(siblings: Mapping[str, dict[str, Metric]]) -> list[dict[str, dict[str, Metric]]]:
    """Siblings put together where they are alike."""
    families: list[dict[str, dict[str, Metric]]] = []
    for name, column in siblings.items():
        for family in families:
            if _alike(next(iter(family.values())), column):
                family[name] = column
                break
        else:
            families.append({name: column})
    return families


def _importance(row: str, columns: Mapping[str, Mapping[str, Metric]]) -> tuple[bool, bool]:
    """The headline's row first, then rows with an interval."""
    found = [column[row] for column in columns.values() if row in column]
    return all(metric.role != "headline" for metric in found), all(metric.interval is None for metric in found)


@dataclass(frozen=True)
class Headline:
    """The metric that a report is about: its name, the results by name, best first, and the controls of that same metric."""

    metric: str
    results: tuple[tuple[str, Metric], ...]
    controls: tuple[tuple[str, Metric], ...]

    @property
    def entries(self) -> tuple[tuple[str, Metric], ...]:
        """The best results, two at most beside controls, and then the controls that are more than a floor."""
        held = [(name, metric) for name, metric in self.controls if name != FLOOR]
        return (*self.results[: 2 if self.controls else len(self.results)], *held)

    def __str__(self) -> str:
        (name, first), *others = self.entries
        against = [f"{told(metric)} for {words(other)}" for other, metric in others]
        listed = " and ".join(filter(None, (", ".join(against[:-1]), *against[-1:])))
        sentence = f"{words(self.metric)}{' (lower is better)' if first.better == 'down' else ''} is {told(first)}"
        sentence += f" {first.unit}" * bool(first.unit) + f" for {words(name)}" * bool(name)
        return f"{sentence}, against {listed}." if listed else f"{sentence}."

    def lead(self, said: str) -> list[tuple[str, bool]]:
        """What is read first, and whether it stands out: what the report's author said, then the numbers that are not in it; where
        the author said nothing the numbers, and what their intervals say.
        """
        known = len(self.entries) == 1 and told(self.results[0][1]) in said
        sentences = [(said, True), ("" if known else str(self), False)] if said else [(str(self), False), (self.verdict(), True)]
        return [(sentence, strong) for sentence, strong in sentences if sentence]

    def leaning(self) -> str:
        """'good' where the first lies above all that it is held against, 'bad' where it lies below one of them, '' where that is open."""
        (_, first), *others = self.entries
        if first.better is None or first.interval is None or not others or any(metric.interval is None for _, metric in others):
            return ""
        side = 1 if first.better == "up" else -1
        ours = sorted(side * bound for bound in first.interval)
        theirs = [sorted(side * bound for bound in metric.interval) for _, metric in others if metric.interval is not None]
        if any(ours[1] < low for low, _ in theirs):
            return "bad"
        return "good" if all(ours[0] > high for _, high in theirs) else ""

    def verdict(self) -> str:
        """What the intervals of the first two say about each other, or nothing."""
        (name, a), (other, b) = (*self.entries, *[("", Metric(None))] * 2)[:2]
        if a.interval is None or b.interval is None:
            return ""
        ours, theirs = words(name or "the result"), words(other)
        if a.interval[0] <= b.interval[1] and b.interval[0] <= a.interval[1]:
            return f"The intervals of {ours} and {theirs} overlap: on this many images the difference may be chance."
        if a.better is None:
            return f"The intervals of {ours} and {theirs} do not overlap."
        good = (a.value > b.value) == (a.better == "up")
        return f"{ours} is {'better' if good else 'worse'} than {theirs}: their intervals do not overlap."


def headline(metrics: Mapping[str, Any]) -> Headline | None:
    """What to read first: the metrics whose role says so, against controls of that metric. None where no number is called a result."""
    every = leaves(described(metrics))
    results = {path: metric for path, metric in every.items() if metric.role == "headline" and metric.known}
    if not results:
        return None
    name = next(iter(results))[-1]
    results = {path: metric for path, metric in results.items() if path[-1] == name}
    measured = [path for path, metric in every.items() if path[-1] == name and metric.role != "control"]
    controls = {
        path: metric
        for path, metric in every.items()
        if metric.role == "control" and metric.known and (metric.of or path[-1]) == name and _nearest(path, measured) & results.keys()
    }
    best = next(iter(results.values())).better
    ranked = sorted(results, key=lambda path: 0 if best is None else results[path].value * (-1 if best == "up" else 1))
    compared = [path[:-1] for path in (*ranked, *(path for path in controls if not controls[path].of))]
    grouped = len({path for path in compared if len(path) == len(ranked[0]) - 1}) > 1
    return Headline(
        name if grouped else " ".join(ranked[0]),
        tuple((path[-2] if grouped else "", results[path]) for path in ranked),
        tuple((path[-1] if controls[path].of else (*path[-2:-1], "control")[0], controls[path]) for path in sorted(controls)),
    )


def _nearest(control: Path, measured: Sequence[Path]) -> set[Path]:
    """The metrics of one name that share the longest beginning of a control's path: it belongs to those and to no other."""
    shared = {path: _common(control, path) for path in measured}
    most = max(shared.values(), default=0)
    return {path for path, length in shared.items() if length == most}


def _common(first: Path, second: Path) -> int:
    """How many names two paths begin with alike."""
    return next((i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b), min(len(first), len(second)))
