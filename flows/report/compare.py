"""Two runs side by side: numbers of equal names, settings that differ, and the images that came out differently."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.durable import write_durably
from fabloom.kinds.metric import Metric, described, is_number, leaves

from .numbers import Headline, headline, number, told, words

if TYPE_CHECKING:
    from fabloom.kinds import Gallery

PAIRS, ROOM = 60, 1_800_000
"""Images that are shown of each run, and the characters that those of one may take."""
EQUAL = "equal"
"""What is said of a metric whose value and interval are the same in both."""
MOVED = 0.2
"""Change of an image's IoU from which it is shown, where its outcome is the same."""


@dataclass(frozen=True)
class Side:
    """What is compared of a run: what its record says, its settings by (step, field), and its last report's numbers and images."""

    run: str
    pipeline: str
    finished: str
    outcome: str
    settings: Mapping[tuple[str, str], Any]
    metrics: Mapping[str, Any]
    gallery: Gallery | None = None

    @property
    def headline(self) -> Headline | None:
        """What its report is about."""
        return headline(self.metrics)


@dataclass(frozen=True)
class Row:
    """A metric in both runs. `change` is second minus first, `says` what the intervals show of it."""

    path: tuple[str, ...]
    first: Metric | None
    second: Metric | None
    change: float | None
    says: str

    @property
    def cells(self) -> list[str]:
        """Label, both values, the change, and what the intervals show, for reading."""
        change = "" if self.change is None else f"{self.change:+.3g}" if self.change else "0"
        return [self.label, told(self.first), told(self.second), change, self.says]

    @property
    def label(self) -> str:
        """The path in words, with unit and direction."""
        one = self.first or self.second or Metric(None)
        arrow = {"up": " ↑", "down": " ↓", None: ""}[one.better]
        return " · ".join(map(words, self.path)) + (f", {one.unit}" if one.unit else "") + arrow


def rows(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[Row]:
    """Every number of both, by its whole path: the headline, what stands beside it, the rest. Words and lists are left out."""
    ours, theirs = leaves(described(first)), leaves(described(second))
    every = {**ours, **theirs}
    paths = [path for path in every if any(is_number(m.value) for m in (ours.get(path), theirs.get(path)) if m is not None)]
    groups = {path[:-1] for path in every if every[path].role == "headline"}

    def place(path: tuple[str, ...]) -> tuple[bool, bool, bool, bool]:
        one = every[path]
        return path not in ours or path not in theirs, one.role != "headline", path[:-1] not in groups, one.role == "control"

    return [_row(path, ours.get(path), theirs.get(path)) for path in sorted(paths, key=place)]


def parted(first: Mapping[str, Any], second: Mapping[str, Any]) -> tuple[list[Row], list[Row]]:
    """Rows whose number changed or that only one run has, and those that are equal."""
    every = rows(first, second)
    return [row for row in every if row.change != 0], [row for row in every if row.change == 0]


def _row(path: tuple[str, ...], first: Metric | None, second: Metric | None) -> Row:
    if first is None or second is None or not (first.known and second.known):
        return Row(path, first, second, None, "")
    change = second.value - first.value
    if (first.unit, first.better) != (second.unit, second.better):
        return Row(path, first, second, None, "another unit or direction")
    if (first.value, first.interval) == (second.value, second.interval):
        return Row(path, first, second, change, EQUAL)
    if first.interval is None or second.interval is None:
        return Row(path, first, second, change, "")
    if first.interval[0] <= second.interval[1] and second.interval[0] <= first.interval[1]:
        return Row(path, first, second, change, "intervals overlap")
    side = {"up": ("worse", "better"), "down": ("better", "worse"), None: ("lower", "higher")}[first.better][change > 0]
    return Row(path, first, second, change, side)


def changed_settings(first: Side, second: Side) -> list[tuple[str, str, Any, Any]]:
    """(step, field, value, value) of what is not the same; an en dash where a step or field is not there."""
    places = {**first.settings, **second.settings}
    pairs = [(*place, first.settings.get(place, "–"), second.settings.get(place, "–")) for place in places]
    return [pair for pair in pairs if pair[2] != pair[3]]


def changed_images(first: Side, second: Side) -> list[tuple[str, int, int]]:
    """(name, row, row) of images of one name that came out differently, those whose outcome changed first."""
    if first.gallery is None or second.gallery is None:
        return []
    theirs = {name: row for row, name in enumerate(second.gallery.names)}
    found = []
    for row, name in enumerate(first.gallery.names):
        if name in theirs:
            other = theirs[name]
            differs = first.gallery.outcomes[row] != second.gallery.outcomes[other]
            moved = abs(_iou(second.gallery, other) - _iou(first.gallery, row))
            if differs or moved >= MOVED:
                found.append((not differs, -moved, name, row, other))
    return [(name, row, other) for _, _, name, row, other in sorted(found)]


def _iou(gallery: Gallery, row: int) -> float:
    value = gallery.values.get("iou", [None] * len(gallery))[row]
    return float(value) if is_number(value) else 0.0


def verdict(first: Side, second: Side) -> str:
    """The sentence that leads: of one metric, or that there is none."""
    if first.run == second.run:
        return f"{first.run} and {second.run} are the same run: there is nothing to compare."
    ours, theirs = first.headline, second.headline
    if ours is None or theirs is None:
        lacking = " and ".join(side.run for side in (first, second) if side.headline is None)
        return f"No verdict: {lacking} has no headline metric."
    name, a = ours.results[0]
    other, b = theirs.results[0]
    if (ours.metric, a.unit, a.better) != (theirs.metric, b.unit, b.better):
        return (
            f"No verdict: {first.run} is about {words(ours.metric)}, {second.run} about {words(theirs.metric)}, and those are not compared."
        )
    found = _row((ours.metric,), a, b)
    lower = " (lower is better)" if a.better == "down" else ""
    said = {
        "intervals overlap": "the intervals overlap, the difference may be chance",
        "": "without intervals nothing says whether that is chance",
    }
    if found.says == EQUAL:
        return f"{words(ours.metric)} is {told(a)} in both runs."
    ending = said.get(found.says, f"the second is {found.says}")
    whose = f" for {words(name)}" if name and name == other else f" for {words(name)} and {words(other)}" if name or other else ""
    return f"{words(ours.metric)}{lower}{whose} goes from {told(a)} to {told(b)}: {ending}."


def document(first: Side, second: Side) -> dict[str, Any]:
    """What `fabloom compare --json` prints."""

    def side(one: Side) -> dict[str, Any]:
        return {"run": one.run, "pipeline": one.pipeline, "finished": one.finished, "outcome": one.outcome}

    def plain(metric: Metric | None) -> dict[str, Any] | None:
        return None if metric is None else {"value": metric.value, "interval": metric.interval}

    return {
        "runs": [side(first), side(second)],
        "verdict": verdict(first, second),
        "metrics": [
            {"path": list(row.path), "first": plain(row.first), "second": plain(row.second), "change": row.change, "says": row.says}
            for row in rows(first.metrics, second.metrics)
        ],
        "settings": [{"step": s, "field": f, "first": a, "second": b} for s, f, a, b in changed_settings(first, second)],
        "images": [
            {"name": name, "first": first.gallery.outcomes[a], "second": second.gallery.outcomes[b]}
            for name, a, b in changed_images(first, second) if first.gallery and second.gallery
        ],
    }  # fmt: skip


def page_name(first: str, second: str) -> str:
    """File of the page of two runs."""
    return f"compare-{hashlib.blake2b(f'{first} {second}'.encode(), digest_size=8).hexdigest()}.html"


def write_comparison(path: Path, first: Side, second: Side) -> None:
    """Render the page of two runs, with the same grey range for the images of both."""
    from .page import POLICY
    from .templating import rendered

    path.parent.mkdir(parents=True, exist_ok=True)
    cases, view, count = _pairs(first, second)
    page = rendered(
        "compare.html", policy=POLICY, first=first, second=second, verdict=verdict(first, second), view=view, pairs=cases, count=count,
        blocks=[[row.cells for row in block] for block in parted(first.metrics, second.metrics)],
        settings=[(step, field, number(a), number(b)) for step, field, a, b in changed_settings(first, second)],
    )  # fmt: skip
    write_durably(path, page.encode())


def _pairs(first: Side, second: Side) -> tuple[list[tuple[Any, Any]], Any, int]:
    """Cases of both runs beside each other, the view that tells their size, and how many there are in all."""
    from .draw.cases import grey_range, view

    changed = changed_images(first, second)
    if not changed or first.gallery is None or second.gallery is None:
        return [], None, 0
    ours = chosen(first.gallery, [row for _, row, _ in changed[:PAIRS]])
    theirs = chosen(second.gallery, [row for _, _, row in changed[:PAIRS]])
    grey = grey_range(ours, theirs)
    left, right = view("first", ours, ROOM, grey), view("second", theirs, ROOM, grey)
    return list(zip(left.cases, right.cases, strict=True)), left, len(changed)


def chosen(gallery: Gallery, some: Sequence[int]) -> Gallery:
    """Some rows of a gallery, in that order."""
    rows = list(some)
    picked: dict[str, Any] = {name: getattr(gallery, name)[rows] for name in ("images", "truth", "found", "unknown", "scores")}
    picked |= {name: [getattr(gallery, name)[row] for row in rows] for name in ("names", "outcomes")}
    return replace(gallery, **picked, values={name: [column[row] for row in rows] for name, column in gallery.values.items()})
