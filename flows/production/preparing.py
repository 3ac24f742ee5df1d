"""What a night decides on, before anything runs: refs frozen to keys, the pipeline with the evaluation in it, its plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fabloom.errors import PipelineError, UserError, did_you_mean
from fabloom.flows.run.api import load_pipeline
from fabloom.flows.run.given import in_place_of
from fabloom.kinds import ImageSet, Report
from fabloom.pipeline import Pipeline
from fabloom.planning.plan import Plan, make_plan

from .line import pointed

if TYPE_CHECKING:
    from fabloom.kinds.store import Store
    from fabloom.registry import Registry

    from .spec import Spec

EVALUATION = "evaluation"
"""The step that a night adds to the pipeline."""


@dataclass(frozen=True)
class Prepared:
    """A night before it runs: `pipeline` with the step `evaluation` in it, its plan, and the keys it decides on.

    `champion` is '' where there is none; `frozen` says which key each ref stood for.
    """

    pipeline: Pipeline
    evaluation: str
    """Name of that step."""
    tested: str
    """Where the held-out set comes from: a step, or key:HEX."""
    plan: Plan
    challenger: str
    champion: str
    test: str
    frozen: Mapping[str, str]


def prepare(spec: Spec, registry: Registry, store: Store, *, seed: int | None = None) -> Prepared:
    """Freeze and plan. Raises UserError for what does not fit together, before anything ran."""
    built = load_pipeline(spec.pipeline, registry).override(spec.set, seed, registry.fields)
    check_names(spec, built, registry)
    champion, frozen = pointed(store, spec.champion), dict[str, str]()
    if champion and spec.feedback is not None:
        built, _ = in_place_of(built, {spec.feedback: f"key:{champion}"}, store)
        check_names(spec.model_copy(update={"feedback": None}), built, registry)
    content = built.model_dump()
    for name, step in content["steps"].items():
        step["inputs"] = {port: _frozen(f"steps.{name}.inputs.{port}", source, store, frozen) for port, source in step["inputs"].items()}
    name = EVALUATION if EVALUATION not in built.steps else f"{EVALUATION}-of-the-night"
    content["steps"][name] = _evaluation(spec, built, store, champion, frozen)
    pipeline = Pipeline.parse(content)
    plan = make_plan(pipeline, registry, store)
    step = plan.step(name)
    if not issubclass(step.spec.output, Report):
        raise UserError(f"evaluate.task: {step.task} gives {step.spec.output.kind}; a gate needs a Report")
    if spec.check is not None and not issubclass(plan.step(spec.check.step).spec.output, ImageSet):
        raise UserError(f"check.step: '{spec.check.step}' gives {plan.step(spec.check.step).kind}; only an ImageSet can be looked at")
    test, tested = str(step.inputs[spec.evaluate.ports.test]), str(pipeline.steps[name].inputs[spec.evaluate.ports.test])
    if champion:
        frozen[f"ref:{spec.champion}"] = champion
    return Prepared(pipeline, name, tested, plan, plan.step(spec.challenger).key, champion, test, frozen)


def check_names(spec: Spec, built: Pipeline, registry: Registry) -> None:
    """Raise UserError where a specification names a step that the pipeline has not, or a task that no plugin brings."""
    steps, test = {"challenger": spec.challenger, **({"check.step": spec.check.step} if spec.check is not None else {})}, spec.evaluate.test
    steps |= {"feedback": spec.feedback} if spec.feedback is not None else {}
    for place, step in steps.items():
        if step not in built.steps:
            raise UserError(f"{place}: pipeline '{built.name}' has no step '{step}'.{did_you_mean(step, built.steps)}")
    if test not in built.steps and not test.startswith(("ref:", "key:")):
        known = did_you_mean(test, built.steps)
        raise UserError(f"evaluate.test: '{test}' is no step of pipeline '{built.name}'; give one, or ref:NAME or key:HEX.{known}")
    registry.task(spec.evaluate.task, "evaluate.task")


def _evaluation(spec: Spec, built: Pipeline, store: Store, champion: str, frozen: dict[str, str]) -> dict[str, Any]:
    """The step that scores challenger and champion on the held-out set."""
    ports, test = spec.evaluate.ports, spec.evaluate.test
    inputs = {ports.challenger: spec.challenger, ports.test: _frozen("evaluate.test", test, store, frozen)}
    if champion:
        inputs[ports.champion] = f"key:{champion}"
    return {"task": spec.evaluate.task, "inputs": inputs, "params": dict(spec.evaluate.params)}


def _frozen(place: str, source: Any, store: Store, frozen: dict[str, str]) -> Any:
    """The source with the key that a ref points at now; noted in `frozen`."""
    if isinstance(source, list):
        return [_frozen(place, one, store, frozen) for one in source]
    if not source.startswith("ref:"):
        return source
    try:
        frozen[source] = store.resolve(source)
    except UserError as error:
        raise PipelineError(place, str(error)) from error
    return f"key:{frozen[source]}"


def part(pipeline: Pipeline, *steps: str) -> Pipeline:
    """The pipeline with nothing but some steps and what they need. What is no step counts for nothing: a key."""
    wanted, waiting = set[str](), [*steps]
    while waiting:
        name = waiting.pop()
        if name in pipeline.steps and name not in wanted:
            wanted.add(name)
            for source in pipeline.steps[name].inputs.values():
                waiting += [source] if isinstance(source, str) else source
    return pipeline.model_copy(update={"steps": {name: one for name, one in pipeline.steps.items() if name in wanted}})
