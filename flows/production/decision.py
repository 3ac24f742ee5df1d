"""`Decision`: what one night of retraining decided, on what, and why. It names artifacts and holds none of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, Self, get_args

from fabloom.errors import DataError
from fabloom.kinds import Artifact, Exhibit, Metric, Table
from fabloom.kinds.artifact import Writing

Outcome = Literal["Promoted", "Rejected", "NoChange", "Skipped", "Held", "Superseded", "Failed", "Stopped"]
OUTCOMES: tuple[str, ...] = get_args(Outcome)
MEANINGS: dict[str, str] = {
    "Promoted": "the challenger is the champion now",
    "Rejected": "the champion stays: the challenger is not better by what the gate asks for, or could not be judged",
    "NoChange": "the challenger is the champion already: nothing that enters it has changed, or another night promoted it meanwhile",
    "Skipped": "another process is at work on this line",
    "Held": "the challenger was rolled back, or is held for another reason; it is not promoted again",
    "Superseded": "somebody moved the champion while this night decided against the one before",
    "Failed": "a step failed; the champion stays",
    "Stopped": "a stop was asked for; the same command goes on from the last checkpoint",
}
"""What each outcome says."""
SEEN = {
    "accepted": "accepted", "key": "set", "against": "held against the last accepted set", "test": "held-out set", "count": "images",
    "height": "height", "width": "width", "channels": "channels", "grey": "mean grey level", "contrast": "contrast",
    "defects": "share with a defect", "duplicates": "share that repeats another image", "known": "share that the last accepted set has too",
    "leaked": "images that the held-out set has too",
}  # fmt: skip
"""What the check of the training set saw, in the order and the words of the page."""
BAD = ("Failed", "Stopped")
"""Outcomes with an exit code of their own; every other is one of the things that a schedule expects."""


@dataclass(frozen=True)
class Record:
    """What a decision holds. There is no time in it: the log of `LINE/decision` has that.

    `challenger`, `champion` (as it was before), `test` and `evaluation` are keys, '' where there is none. `frozen` says which key each
    ref stood for; `gate` has a verdict for each condition (`gate.Verdict`); `headline` the score that the evaluation is about, of both;
    `data` what the check of the training set saw.
    """

    line: str
    outcome: Outcome
    reason: str
    note: str = ""
    pipeline: str = ""
    challenger: str = ""
    champion: str = ""
    test: str = ""
    evaluation: str = ""
    frozen: Mapping[str, str] = field(default_factory=dict)
    gate: Sequence[Mapping[str, Any]] = ()
    sources: int | None = None
    headline: Mapping[str, Any] = field(default_factory=dict)
    data: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.outcome not in OUTCOMES:
            raise DataError(f"a night does not end as '{self.outcome}'; it ends as one of {', '.join(OUTCOMES)}")

    @property
    def verdicts(self) -> Table:
        """The gate, condition by condition."""
        rows = [[v["metric"], v["value"], *(v["interval"] or (None, None)), v["wanted"], v["passed"]] for v in self.gate]
        return Table(("metric", "challenger minus champion" if self.champion else "challenger", "from", "to", "wanted", "holds"), rows)

    @property
    def scores(self) -> dict[str, Any]:
        """The headline metric of challenger and champion as `Metric`s, {"challenger": {name: Metric}, ...}; {} where nothing was scored."""
        found: dict[str, Any] = {}
        for who, role in (("challenger", "headline"), ("champion", "control")):
            known = self.headline.get(who)
            if known is not None:
                pair = tuple(known["interval"]) if known["interval"] else None
                told = {"unit": self.headline.get("unit", ""), "better": self.headline.get("better"), "role": role}
                found[who] = {self.headline["metric"]: Metric(known["value"], pair, **told)}
        return found


class Decision(Artifact):
    """The record of a night: attributes alone. Equal decisions on equal evidence are one artifact.

    What it names may be removed by `fabloom gc --unreferenced`; the numbers stay.
    """

    @property
    def record(self) -> Record:
        """What was decided. A field that a newer fabloom wrote is left out."""
        return Record(**{one.name: self.attrs[one.name] for one in fields(Record) if one.name in self.attrs})

    @classmethod
    def write(cls, ctx: Writing, record: Record) -> Self:
        """Write a decision."""
        scores = {who: next(iter(metrics.values())).value for who, metrics in record.scores.items()}
        told = {"line": record.line, "outcome": record.outcome, **scores}
        ctx.staging.attrs.update({**asdict(record), "gate": [dict(one) for one in record.gate], "metrics": told})
        return cls(ctx.staging.as_reader())

    @classmethod
    def summarise(cls, manifest: Mapping[str, Any]) -> str:
        """Line, outcome, and the scores of both."""
        known = manifest.get("metrics") or {}
        scores = [f"{name} {known[name]:.3f}" for name in ("challenger", "champion") if isinstance(known.get(name), float)]
        return ", ".join([f"{known.get('line', '?')}: {known.get('outcome', '?')}", *scores])

    def exhibits(self) -> Iterator[Exhibit]:
        """What was decided and why, the gate condition by condition, the scores, and what it was decided on."""
        r = self.record
        notes = [note for note in (r.reason, r.note) if note]
        yield Exhibit(f"{r.outcome}: {MEANINGS[r.outcome]}", notes=notes, section="result")
        if r.gate:
            yield Exhibit("Gate", table=r.verdicts, section="result")
        if r.headline:
            yield Exhibit("Scores on the held-out set", metrics=r.scores, section="result")
        if r.data:
            seen = {words: r.data[name] for name, words in SEEN.items() if r.data.get(name) not in (None, "")}
            yield Exhibit("Training set", facts=seen, section="result")
        keys = {name: getattr(r, name) or "none" for name in ("challenger", "champion", "test", "evaluation")}
        yield Exhibit("Decided on", facts={"line": r.line, "pipeline": r.pipeline, **keys, **r.frozen}, section="result")
