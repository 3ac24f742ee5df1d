"""A night as a page: how it ended and why, each condition of the gate as an interval against its margin, and the tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.durable import write_durably
from fabloom.errors import UserError
from fabloom.regular import clear, is_plain

from .decision import MEANINGS, Decision
from .line import lines, no_night

if TYPE_CHECKING:
    from fabloom.kinds import Exhibit
    from fabloom.kinds.store import RefEntry, Store

LEANING = {"Promoted": "good", "Failed": "bad"}
"""Outcomes whose first sentence is coloured."""


@dataclass(frozen=True)
class Kept:
    """A decision in the store, and the line of the log that made it its line's newest; None where it was never noted down."""

    decision: Decision
    entry: RefEntry | None = None

    def page(self, store: Store) -> Path:
        """Where its page is, or would be."""
        return store.pages / f"decision-{self.decision.key[:12]}.html"


def meant(store: Store, text: str) -> Kept | None:
    """The decision that is meant by a line, by a ref as in LINE/decision, or by a key; None where `text` is nothing of the store's.

    Raises UserError for an artifact of another kind, for a line without a night, and for a decision that was removed.
    """
    line = text.removeprefix("ref:").removesuffix("/decision")
    if line in lines(store):
        key = store.refs.get(f"{line}/decision")
    elif text.endswith("/decision"):
        raise no_night(store, line)
    else:
        try:
            key = store.resolve(text)
        except UserError:
            return None
    if not store.has(key):
        raise UserError(f"'{text}': the artifact {key[:12]} is not in '{store.url}' any more; it may have been removed by `fabloom gc`")
    found = store.get(key)
    if not isinstance(found, Decision):
        raise UserError(
            f"'{text}' is no decision but {found.kind} {key[:12]}, which has no page of its own; see `fabloom show {key[:12]}`, or give "
            "a run of `fabloom runs`, or a line's name"
        )
    return Kept(found, _noted(store, found))


def _noted(store: Store, decision: Decision) -> RefEntry | None:
    """When a decision was last made its line's newest."""
    line = decision.record.line
    log = store.refs.log(f"{line}/decision") if line in lines(store) else ()
    return next((entry for entry in reversed(log) if (entry.action, entry.key) == ("set", decision.key)), None)


def write_night(path: Path, kept: Kept) -> None:
    """Render the page to `path`, replacing it as a whole."""
    from fabloom.flows.report.page import POLICY
    from fabloom.flows.report.templating import rendered

    record, entry = kept.decision.record, kept.entry
    meaning = MEANINGS[record.outcome]
    made = rendered(
        "night.html",
        policy=POLICY,
        record=record,
        key=kept.decision.key,
        noted=f"{entry.at[:16].replace('T', ' ')} UTC by {entry.by}" if entry is not None and entry.at else "",
        leaning=LEANING.get(record.outcome, ""),
        meaning=f"{meaning[:1].upper()}{meaning[1:]}.",
        parts=list(_parts(kept.decision)),
        commands="\n".join(_commands(kept.decision)),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    if not is_plain(path):
        clear(path)
    write_durably(path, made.encode())


def _parts(decision: Decision) -> Iterator[Any]:
    """The sections: each exhibit of the decision but the first, which the head of the page tells; the gate begins with its picture."""
    from markupsafe import Markup

    from fabloom.flows.report.draw.markup import guarded, section

    for exhibit in list(decision.exhibits())[1:]:
        pictures = "".join(guarded(lambda one=one: _against(one)) for one in decision.record.gate) if exhibit.title == "Gate" else ""  # type: ignore[misc]
        hint = "The whole bar must lie in the green: an end that touches the dashed line does not do." if pictures else ""
        yield Markup(section(exhibit.title, pictures + _drawn(exhibit), hint))  # noqa: S704  made of escaped text


def _drawn(exhibit: Exhibit) -> str:
    from fabloom.flows.report import exhibits

    return exhibits.drawn(exhibit.title, replace(exhibit, title=""))


def _against(verdict: Mapping[str, Any]) -> str:
    """One condition as a picture over its sentence; the sentence alone where there is no interval."""
    from fabloom.flows.report.draw.margins import margin
    from fabloom.flows.report.draw.markup import problem, text
    from fabloom.flows.report.numbers import words

    if verdict["interval"] is None or verdict["value"] is None:
        return problem(verdict["why"])
    side, _, bound = str(verdict["wanted"]).partition(" ")
    low, high = verdict["interval"]
    drawn = margin(verdict["metric"], verdict["value"], (low, high), float(bound), below=side == "below", passed=verdict["passed"])
    return (
        f'<figure style="max-width:620px"><h4>{text(words(verdict["metric"]))}: {"holds" if verdict["passed"] else "does not hold"}</h4>'
        f"{drawn}<figcaption>{text(verdict['why'])}</figcaption></figure>"
    )


def _commands(decision: Decision) -> Iterator[str]:
    """What a reader may want to do next."""
    r = decision.record
    told = {
        f"lineage {r.challenger[:12]}": "what the challenger was made from" if r.challenger else "",
        f"show {r.evaluation[:12]}": "all scores of both" if r.evaluation else "",
        f"drift {r.line}": "all nights of the line",
        f"ref rollback {r.line}/champion": "take the newest promotion back" if r.outcome == "Promoted" else "",
    }
    longest = max(map(len, told))
    return (f"fabloom {command:{longest}}  # {why}" for command, why in told.items() if why)
