"""A run as one side of a comparison: its numbers and images from the store, its settings from the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fabloom.errors import UserError
from fabloom.flows.report.compare import Side
from fabloom.flows.report.numbers import headline

from .again import recalled
from .log import RunRecord

if TYPE_CHECKING:
    from fabloom.kinds.store import Store
    from fabloom.registry import Registry


def sides(first: RunRecord, second: RunRecord, runs: Sequence[RunRecord], registry: Registry, store: Store) -> tuple[Side, Side]:
    """Both sides of a comparison; `runs` are all, newest first. Raises UserError where a run left no report, and names one that did."""
    found = []
    for record, other in ((first, second), (second, first)):
        if not reported(record):
            raise UserError(
                f"run '{record.run}' ({record.outcome}) has no report, so there is nothing to compare.{instead(record, other, runs)}"
            )
        found.append(side(record, registry, store))
    return found[0], found[1]


def reported(record: RunRecord) -> bool:
    """Whether a step of the run gave a report."""
    return any(step["kind"] == "Report" and step["status"] in ("ran", "reused") for step in record.steps)


def instead(record: RunRecord, other: RunRecord, runs: Sequence[RunRecord]) -> str:
    """The nearest run in the list with a report, as a sentence; '' where there is none but the other side."""
    names = [run.run for run in runs]
    having = [place for place, run in enumerate(runs) if reported(run) and run.run != other.run]
    if not having:
        return " No other run has one." if reported(other) else " No run has one."
    place = min(having, key=lambda at: abs(at - names.index(record.run)))
    return f" The nearest run that has one is number {place + 1} of `fabloom runs`, '{names[place]}'."


def side(record: RunRecord, registry: Registry, store: Store) -> Side:
    """Of the last report that says what it is about, else of the last. Raises UserError where the store has none of it any more."""
    plan, results = recalled(record, registry, store)
    reports: list[Any] = [store.get(r.key) for r in results if r.kind == "Report" and r.status in ("ran", "reused")]
    if not reports:
        raise UserError(f"run '{record.run}' ({record.outcome}) has no report in the store, so there is nothing to compare")
    report = next((one for one in reversed(reports) if headline(one.described)), reports[-1])
    settings: dict[tuple[str, str], Any] = {}
    for step in plan.steps:
        settings[step.name, "task"] = step.task
        settings[step.name, "seed"] = step.seed
        for name, value in step.params.model_dump(mode="json").items():
            settings[step.name, name] = value
    return Side(record.run, record.pipeline_name, record.finished, record.outcome, settings, report.described, report.gallery)
