"""One task on its own: planned without a pipeline, run in this process, its artifact given back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fabloom.kinds import Artifact
from fabloom.kinds.store import Store
from fabloom.method import Context, Method, Options, PlannedStep, read_tasks
from fabloom.params import Params
from fabloom.planning.keys import artifact_key, canonical_params, preimage, step_seed
from fabloom.running.execute import run_step
from fabloom.running.parts import parts_of

Given = Mapping[str, Any] | Params
Inputs = Mapping[str, Artifact | Sequence[Artifact] | None]


def plan_task(store: Store, method: type[Method], task: str, params: Given, seed: int, keys: Mapping[str, Any]) -> PlannedStep:
    """The task as a step of its own; `keys` are the keys of its inputs by port. Raises KeyError for a task that is not there."""
    specs = read_tasks(method)
    spec = specs[task]
    for other in specs.values():  # kinds of a plugin that is not installed are known all the same
        store.kinds.update({kind.kind: kind for kind in (other.output, *(port.kind for port in other.inputs.values()))})
    checked = spec.params.model_validate(params if isinstance(params, Mapping) else params.model_dump())
    key_seed = step_seed(0, seed, spec.full_name)
    asked = preimage(spec.full_name, spec.version, canonical_params(checked, store.hasher), key_seed, dict(keys))
    return PlannedStep(task, spec, checked, dict(keys), (), key_seed, artifact_key(asked), asked)


def run_task(
    store: Store,
    method: type[Method],
    task: str,
    params: Given | None = None,
    *,
    seed: int = 0,
    inputs: Inputs | None = None,
    stop: Callable[[], bool] = lambda: False,
    workers: int = 1,
) -> Artifact:
    """Run `task` of a Method class on the CPU and give the committed artifact; what is in the store already is reused.

    `inputs` are artifacts of the same store by port. With `workers` a task that has a `Fanout` is made in that many parts, one after the
    other, which are joined: the digest must be that of one worker. Raises what the step raises: UserError, StepFailed, Interrupted.
    """
    given = {port: value for port, value in (inputs or {}).items() if value is not None}
    keys = {port: value.key if isinstance(value, Artifact) else [one.key for one in value] for port, value in given.items()}
    step = plan_task(store, method, task, params or {}, seed, keys)
    options = Options(device="cpu")
    parts = parts_of(step, store, workers)
    for part in parts:
        run_step(part, store, options, stop=stop)
    run_step(step, store, replace(options, parts=tuple(part.key for part in parts)), stop=stop)
    return store.get(step.key)


def write_artifact(store: Store, write: Callable[[Context], Artifact], *, seed: int = 0) -> Artifact:
    """Commit what `write(ctx)` writes, an input for a task under test; the same function and seed give the same artifact."""
    name = f"{write.__module__}.{getattr(write, '__qualname__', type(write).__name__)}"
    asked = preimage(name, 1, {}, seed, {})
    key = artifact_key(asked)
    if not store.has(key):
        with store.lock(key, lambda pid: None, lambda: False):
            staging = store.stage(key)
            made = write(Context(staging=staging, seed=seed, workdir=store.work(key)))
            store.kinds.setdefault(made.kind, type(made))  # a kind of a plugin that is not installed here
            facts = {
                "kind": made.kind, "preimage": asked, "source": "", "plugin": {"distribution": "tests", "version": "0"},
                "made_with": {}, "device": "cpu", "threads": 1, "created": "1970-01-01T00:00:00Z", "seconds": 0.0, "curves": {},
            }  # fmt: skip
            store.commit(staging, facts)
    return store.get(key)
