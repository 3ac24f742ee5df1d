"""Between a planned step and the request that crosses to where it runs."""

from __future__ import annotations

from fabloom.errors import FabloomError, PluginError
from fabloom.kinds.store import Store
from fabloom.method import Options, PlannedStep, StepRequest
from fabloom.planning.keys import artifact_key
from fabloom.registry import Registry

from .execute import source_of


def request_of(step: PlannedStep, store: Store, options: Options) -> StepRequest:
    """The step as plain data."""
    return StepRequest(
        name=step.name,
        task=step.task,
        kind=step.kind,
        params=step.params.model_dump(mode="json"),
        inputs=dict(step.inputs),
        upstream=step.upstream,
        seed=step.seed,
        key=step.key,
        preimage=dict(step.preimage),
        pipeline=step.pipeline,
        plugin=step.spec.origin.plugin,
        source=source_of(step.spec.method),
        store=store.url,
        options=options,
    )


def step_of(request: StepRequest, registry: Registry) -> PlannedStep:
    """The step as it was planned, with the task as it is installed here; nothing is planned or hashed again.

    Raises PluginError where this side has another version or another source of the method than the side that planned it: the key
    would promise what this code does not do.
    """
    spec = registry.task(request.task, f"steps.{request.name}.task")
    here = {**spec.origin.plugin, "task version": str(spec.version), "source": source_of(spec.method)}
    there = {**request.plugin, "task version": str(request.preimage["version"]), "source": request.source}
    differing = [f"{name} {str(there.get(name))[:12]} there, {here[name][:12]} here" for name in here if here[name] != there.get(name)]
    if differing:
        why = f"step '{request.name}': {request.task} changed since it was planned ({'; '.join(differing)})"
        raise PluginError(f"{why}. Install the same versions on both sides, or run again.")
    if artifact_key(request.preimage) != request.key:
        raise FabloomError(f"step '{request.name}': its key {request.key[:12]} does not follow from what it asks. Plan it again.")
    try:
        params = spec.params.model_validate(dict(request.params))
    except ValueError as error:
        raise FabloomError(f"step '{request.name}': its parameters cannot be read back: {error}") from error
    return PlannedStep(
        request.name, spec, params, request.inputs, request.upstream, request.seed, request.key, request.preimage, request.pipeline
    )
