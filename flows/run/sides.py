"""A run as one side of a comparison: its numbers and images from the store, its settings from the pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fabloom.errors import UserError
from fabloom.flows.report.compare import Side
from fabloom.flows.report.numbers import headline

from .again import recalled
from .log import RunRecord

if TYPE_CHECKING:
    from fabloom.kinds.store import Store
    from fabloom.registry import Registry


def side(record: RunRecord, registry: Registry, store: Store) -> Side:
    """Of the last report that says what it is about, else of the last. Raises UserError where the run left no report."""
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
