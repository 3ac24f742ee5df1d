"""How good a line's challengers and champions were, night by night: rows, a chart, one page."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.durable import write_durably
from fabloom.flows.report.numbers import number, told, words
from fabloom.kinds import Chart, Metric
from fabloom.regular import clear, is_plain

from .line import DECIDED, decisions, no_night

if TYPE_CHECKING:
    from fabloom.kinds.store import Store

    from .decision import Record

WATCHED = {"count": "images", "grey": "mean grey level", "contrast": "contrast", "defects": "share with a defect"}
"""What is drawn of the training sets."""


@dataclass(frozen=True)
class Row:
    """A night that decided something, or what a person did to the champion. `number` counts the nights from 1; 0 for a person's move."""

    number: int
    at: str
    outcome: str
    reason: str
    decision: str
    challenger: str
    record: Record | None = None

    def score(self, who: str) -> Metric | None:
        """The headline metric of challenger or champion; None where it was not scored."""
        scores = self.record.scores if self.record is not None else {}
        return next(iter(scores.get(who, {}).values()), None)

    @property
    def metric(self) -> str:
        """Name of the headline metric; '' where nothing was scored."""
        return str(self.record.headline.get("metric", "")) if self.record is not None else ""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON data."""
        known = {who: self.record.headline.get(who) if self.record is not None else None for who in ("challenger", "champion")}
        facts = {"test": self.record.test, "data": dict(self.record.data)} if self.record is not None else {}
        keys = {"at": self.at, "outcome": self.outcome, "reason": self.reason, "decision": self.decision, "key": self.challenger}
        return {**({"night": self.number} if self.number else {}), **keys, "metric": self.metric, **known, **facts}


def rows(store: Store, line: str) -> list[Row]:
    """Nights and moves by hand, oldest first. Raises UserError for a line that has had no night."""
    nights = decisions(store, line)
    if not nights:
        raise no_night(store, line)
    found = [
        Row(index, entry.at, record.outcome, record.reason, entry.key, record.challenger, record)
        for index, (entry, record) in enumerate(nights, start=1)
    ]
    champion = f"{line}/champion"
    for entry in store.refs.log(champion) if champion in store.refs.names() else ():
        if entry.action == "rollback" or (entry.action == "set" and not entry.why.startswith(DECIDED)):
            what = "rolled back" if entry.action == "rollback" else "set by hand"
            found.append(Row(0, entry.at, what, entry.why or f"by {entry.by}", "", entry.key))
    return sorted(found, key=lambda row: row.at)


def columns(shown: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    """Head and cells of the table. A score of another metric than the newest says of which."""
    metric = newest_metric(shown)
    head = ["night", "when (UTC)", "outcome", "challenger", f"its {words(metric)}", "the champion's", "why"]
    cells = [
        [
            str(row.number or ""), row.at[:16].replace("T", " "), row.outcome, row.challenger[:12],
            _score(row, "challenger", metric), _score(row, "champion", metric), row.reason,
        ]
        for row in shown
    ]  # fmt: skip
    return head, cells


def _score(row: Row, who: str, metric: str) -> str:
    score = row.score(who)
    return "" if score is None else told(score) + (f" {words(row.metric)}" if row.metric != metric else "")


def newest_metric(shown: Sequence[Row]) -> str:
    """The headline metric of the last night that scored something; 'score' where none has."""
    return next((row.metric for row in reversed(shown) if row.metric), "score")


def scores(shown: Sequence[Row]) -> Chart:
    """The newest headline metric of challenger and champion over the nights, with the intervals."""
    metric = newest_metric(shown)
    series = {
        who: [_point(row.number, score) for row in shown if row.metric == metric and (score := row.score(who)) and score.known]
        for who in ("challenger", "champion")
    }
    return Chart("night", words(metric), {who: points for who, points in series.items() if points})


def data_charts(shown: Sequence[Row]) -> list[Chart]:
    """What the training sets were like that were checked."""
    found = []
    for name, what in WATCHED.items():
        points = [(row.number, float(value)) for row in shown if row.record and (value := row.record.data.get(name)) is not None]
        if len(points) > 1:
            found.append(Chart("night", what, {what: points}))
    return found


def _point(night: int, score: Metric) -> tuple[float, ...]:
    return (night, score.value, *score.interval) if score.interval else (night, score.value)


def changes(shown: Sequence[Row]) -> list[str]:
    """From which night on scores are of another held-out set or metric, and are not to be read on across it."""
    found = []
    scored = [row for row in shown if row.metric and row.record]
    for before, after in itertools.pairwise(scored):
        assert before.record and after.record
        if before.record.test != after.record.test:
            old, new = before.record.test[:12], after.record.test[:12]
            found.append(f"From night {after.number} on the held-out set is {new}, before it was {old}.")
        if before.metric != after.metric:
            found.append(f"From night {after.number} on the headline is {words(after.metric)}, before it was {words(before.metric)}.")
    return found


def verdict(shown: Sequence[Row]) -> str:
    """What stands at the end, in a sentence."""
    nights = [row for row in shown if row.number]
    counts: dict[str, int] = {}
    for row in nights:
        counts[row.outcome] = counts.get(row.outcome, 0) + 1
    listed = ", ".join(f"{many} {outcome}" for outcome, many in counts.items())
    return f"{number(len(nights))} night{'s' * (len(nights) != 1)} that decided something: {listed}. The last: {nights[-1].outcome}."


def page_name(line: str) -> str:
    """The file in the store's folder of pages."""
    return f"drift-{line}.html"


def write_drift(path: Path, line: str, shown: Sequence[Row]) -> None:
    """Render the page to `path`, replacing it as a whole."""
    from markupsafe import Markup

    from fabloom.flows.report.draw.lines import lines
    from fabloom.flows.report.page import POLICY
    from fabloom.flows.report.templating import rendered

    head, cells = columns(shown)
    made = rendered(
        "drift.html",
        policy=POLICY,
        line=line,
        lead=verdict(shown),
        metric=words(newest_metric(shown)),
        changes=changes(shown),
        scores=Markup(lines(scores(shown))),  # noqa: S704  our own drawing
        data={chart.y: Markup(lines(chart)) for chart in data_charts(shown)},  # noqa: S704  the same
        head=head,
        rows=[*reversed(cells)],
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    if not is_plain(path):
        clear(path)
    write_durably(path, made.encode())
