"""A run that ended, put together again from its record and the store: for its page, and for holding it against another."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from fabloom.errors import FabloomError, Interrupted, UserError
from fabloom.method import PlannedStep, StepResult
from fabloom.pipeline import Pipeline, Step, validation_error
from fabloom.planning.plan import Plan

from .log import RunRecord

if TYPE_CHECKING:
    from fabloom.kinds.store import Store
    from fabloom.registry import Registry

GONE = "its artifact is no longer in the store"


def recalled(record: RunRecord, registry: Registry, store: Store) -> tuple[Plan, list[StepResult]]:
    """The plan and the results of a run, without looking at the files it read. Raises UserError where a task is not there any more."""
    pipeline = Pipeline.parse(dict(record.pipeline), origin=f"the record of run '{record.run}'")
    pairs = [_step(pipeline, step, registry, store) for step in record.steps if step["name"] in pipeline.steps]
    return Plan(pipeline, tuple(step for step, _ in pairs)), [result for _, result in pairs]


def _step(pipeline: Pipeline, kept: Any, registry: Registry, store: Store) -> tuple[PlannedStep, StepResult]:
    name, asked = kept["name"], pipeline.steps[kept["name"]]
    spec = registry.task(asked.task, f"steps.{name}.task")
    try:
        params = spec.params.model_validate(asked.params)
    except ValidationError as error:
        raise validation_error(error, spec.params, f"steps.{name}.params") from error
    done = kept["status"] in ("ran", "reused")
    manifest: dict[str, Any] = {}
    if done and store.has(kept["key"]):
        try:
            manifest = store.manifest(kept["key"])
        except (FabloomError, OSError):  # the page says what is wrong with it
            manifest = {"digest": kept["digest"], "metrics": {}, "preimage": {"inputs": {}, "seed": 0}}
    preimage = manifest.get("preimage", {})
    step = PlannedStep(
        name, spec, params, preimage.get("inputs", {}), _upstream(asked), preimage.get("seed", 0), kept["key"], preimage, pipeline.name
    )
    if manifest:
        return step, StepResult.committed(step, kept["status"], manifest, kept["seconds"])
    if done:
        return step, StepResult.of(step, "skipped", error=GONE)
    if kept["status"] == "stopped":
        return step, StepResult.of(step, "failed", error=kept["error"], exit_code=Interrupted.exit_code)
    return step, StepResult.of(step, kept["status"], error=kept["error"], exit_code=1 if kept["status"] == "failed" else 0)


def _upstream(step: Step) -> tuple[str, ...]:
    sources = [s for value in step.inputs.values() for s in ([value] if isinstance(value, str) else value)]
    return tuple(dict.fromkeys(source for source in sources if not source.startswith(("ref:", "key:"))))


def render(record: RunRecord, registry: Registry, store: Store, to: Path | None = None) -> Path:
    """Write the page of a run, in the store or to a file, and give its path. Raises UserError where nothing of it is left."""
    from fabloom.flows.report.page import write_page

    plan, results = recalled(record, registry, store)
    if not any(result.status in ("ran", "reused", "failed") for result in results):
        raise UserError(f"nothing of run '{record.run}' is left in '{store.url}'; run its pipeline again")
    page = to or record.page(store)
    write_page(page, plan, results, store)
    return page
