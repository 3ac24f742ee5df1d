"""A pipeline resolved: tasks found, types checked, parameters validated, every key known before anything runs."""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from graphlib import CycleError, TopologicalSorter
from typing import Any

from pydantic import ValidationError

from fabloom.errors import FabloomError, PipelineError, UserError, did_you_mean
from fabloom.kinds.store import Store
from fabloom.method import Method, PlannedStep, Port, TaskSpec
from fabloom.method.blame import own_fault
from fabloom.notebook import html
from fabloom.pipeline import Pipeline, Step, validation_error
from fabloom.registry import Registry

from .keys import artifact_key, canonical_params, preimage, step_seed


@dataclass(frozen=True, repr=False)
class Plan:
    """All steps in an order in which they can run."""

    pipeline: Pipeline
    steps: tuple[PlannedStep, ...]

    @cached_property
    def _named(self) -> dict[str, PlannedStep]:
        return {step.name: step for step in self.steps}

    def __repr__(self) -> str:
        return f"Plan({self.pipeline.name}: {', '.join(step.name for step in self.steps)})"

    def _repr_html_(self) -> str | None:
        return html(self)

    def keys(self) -> set[str]:
        """What a run of it reads or makes: the steps' own keys, and those of stored artifacts that they take."""
        given = (key for step in self.steps for key in step.inputs.values())
        return {step.key for step in self.steps}.union(*([one] if isinstance(one, str) else one for one in given))

    def step(self, name: str) -> PlannedStep:
        """The step of that name. Raises UserError with the nearest name."""
        if name in self._named:
            return self._named[name]
        raise UserError(f"there is no step '{name}'.{did_you_mean(name, self._named)}")


def make_plan(pipeline: Pipeline, registry: Registry, store: Store) -> Plan:
    """Resolve a pipeline. Raises PipelineError with the place and the fix; runs and writes nothing."""
    specs = {name: registry.task(step.task, f"steps.{name}.task") for name, step in pipeline.steps.items()}
    order = _order(pipeline)
    planned: dict[str, PlannedStep] = {}
    for name in order:
        planned[name] = _plan_step(name, pipeline, specs, planned, store)
    for step in planned.values():
        with own_fault(step.spec.method, f"steps.{step.name}", "planning"):
            step.spec.method.check(step, _feeding(pipeline.steps[step.name], planned))
            _check_inputs(step, store)
    return Plan(pipeline, tuple(planned.values()))


def _check_inputs(step: PlannedStep, store: Store) -> None:
    """Let the method look at what its step would read, as far as that is in the store. Most methods do not ask."""
    asking = step.spec.method.check_inputs.__func__ is not Method.check_inputs.__func__  # type: ignore[attr-defined]
    if not asking or store.has(step.key):
        return
    manifests: dict[str, dict[str, Any]] = {}
    for port, keys in step.inputs.items():
        named = {port: keys} if isinstance(keys, str) else {f"{port}[{index}]": key for index, key in enumerate(keys)}
        for place, key in named.items():
            with contextlib.suppress(FabloomError):  # damaged, or removed meanwhile: told when it is read
                manifests |= {place: store.manifest(key)} if store.has(key) else {}
    step.spec.method.check_inputs(step, manifests)


def _sources(step: Step) -> list[tuple[str, str]]:
    """(port, source) of every input, lists flattened."""
    return [(port, s) for port, source in step.inputs.items() for s in ([source] if isinstance(source, str) else source)]


def _feeding(step: Step, planned: Mapping[str, PlannedStep]) -> dict[str, PlannedStep]:
    """The planned steps behind the ports; those of a list as `port[0]`, `port[1]`."""
    found = {}
    for port, source in step.inputs.items():
        named = {port: source} if isinstance(source, str) else {f"{port}[{index}]": one for index, one in enumerate(source)}
        found.update({place: planned[one] for place, one in named.items() if one in planned})
    return found


def _is_stored(source: str) -> bool:
    return source.startswith(("ref:", "key:"))


def _order(pipeline: Pipeline) -> list[str]:
    graph: dict[str, list[str]] = {}
    for name, step in pipeline.steps.items():
        graph[name] = []
        for port, source in _sources(step):
            if _is_stored(source):
                continue
            if source not in pipeline.steps:
                raise PipelineError(f"steps.{name}.inputs.{port}", f"there is no step '{source}'.{did_you_mean(source, pipeline.steps)}")
            graph[name].append(source)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise PipelineError("steps", f"the steps form a cycle: {' -> '.join(reversed(error.args[1]))}") from error
    return _in_file_order(graph)


def _in_file_order(graph: Mapping[str, list[str]]) -> list[str]:
    """The names of a DAG {name: names it needs}, in the order of the file wherever the arrows allow it.

    Kahn (1962): of the steps whose needs are done, the first of the file is next; a heap finds it in O(log n).
    """
    names = list(graph)
    place = {name: index for index, name in enumerate(names)}
    missing = {name: len(needs) for name, needs in graph.items()}
    users: dict[str, list[str]] = {name: [] for name in names}
    for name, needs in graph.items():
        for need in needs:
            users[need].append(name)
    ready = [place[name] for name in names if not missing[name]]  # ascending, so a heap already
    done: list[str] = []
    while ready:
        done.append(names[heapq.heappop(ready)])
        for user in users[done[-1]]:
            missing[user] -= 1
            if not missing[user]:
                heapq.heappush(ready, place[user])
    return done


def _plan_step(
    name: str, pipeline: Pipeline, specs: Mapping[str, TaskSpec], planned: Mapping[str, PlannedStep], store: Store
) -> PlannedStep:
    step, spec = pipeline.steps[name], specs[name]
    with own_fault(spec.method, f"steps.{name}.params", "planning"):
        try:
            params = spec.params.model_validate(step.params)
        except ValidationError as error:
            raise validation_error(error, spec.params, f"steps.{name}.params") from error
    inputs = _inputs(name, step, spec, planned, store)
    seed = step_seed(pipeline.seed, step.seed, spec.full_name)
    try:
        canonical = canonical_params(params, store.hasher)
    except UserError as error:
        raise type(error)(*_with_place(error, f"steps.{name}.params")) from error
    except TypeError as error:
        raise PipelineError(f"steps.{name}.params", f"cannot enter a key: {error}") from error
    except OSError as error:
        raise PipelineError(f"steps.{name}.params", f"cannot read '{error.filename}': {error.strerror}") from error
    asked = preimage(spec.full_name, spec.version, canonical, seed, inputs)
    upstream = tuple(dict.fromkeys(source for _, source in _sources(step) if not _is_stored(source)))
    return PlannedStep(name, spec, params, inputs, upstream, seed, artifact_key(asked), asked, pipeline.name)


def _with_place(error: UserError, place: str) -> tuple[str, ...]:
    return (place, str(error)) if isinstance(error, PipelineError) else (f"{place}: {error}",)


def _inputs(name: str, step: Step, spec: TaskSpec, planned: Mapping[str, PlannedStep], store: Store) -> dict[str, str | list[str]]:
    place = f"steps.{name}.inputs"
    for port in step.inputs:
        if port not in spec.inputs:
            raise PipelineError(
                f"{place}.{port}", f"{spec.full_name} has no input of that name.{did_you_mean(port, spec.inputs)}{_signed(spec)}"
            )
    keys: dict[str, str | list[str]] = {}
    for port, wanted in spec.inputs.items():
        if port not in step.inputs:
            if not wanted.optional:
                raise PipelineError(
                    f"{place}.{port}", f"is missing: {spec.full_name} needs {wanted}{_candidates(wanted, planned)}.{_signed(spec)}"
                )
            continue
        source = step.inputs[port]
        if isinstance(source, list) != wanted.many:
            raise PipelineError(f"{place}.{port}", f"expects {'a list of steps' if wanted.many else 'one step'} ({wanted})")
        if isinstance(source, list):
            keys[port] = [_input_key(f"{place}.{port}", s, wanted, planned, store) for s in source]
        else:
            keys[port] = _input_key(f"{place}.{port}", source, wanted, planned, store)
    return keys


def _signed(spec: TaskSpec) -> str:
    """What to know of a conventional task that does not fit: methods of another signature cannot stand in for it."""
    return f" It has {spec.signed}; methods can be swapped within one signature, see `fabloom tasks`." if spec.signed else ""


def _candidates(port: Port, planned: Mapping[str, PlannedStep]) -> str:
    names = [s.name for s in planned.values() if issubclass(s.spec.output, port.kind)]
    return f"; steps that give one: {', '.join(names)}" if names else ""


def _input_key(place: str, source: str, port: Port, planned: Mapping[str, PlannedStep], store: Store) -> str:
    if not _is_stored(source):
        upstream = planned[source]
        if not issubclass(upstream.spec.output, port.kind):
            raise PipelineError(place, f"expects {port.kind.kind}, but '{source}' gives {upstream.spec.output.kind} ({upstream.task})")
        return upstream.key
    try:
        key = store.resolve(source)
        kind = store.manifest(key)["kind"]
    except UserError as error:
        raise PipelineError(place, str(error)) from error
    if kind != port.kind.kind:
        raise PipelineError(place, f"expects {port.kind.kind}, but '{source}' is {kind}")
    return key
