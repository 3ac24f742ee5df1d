"""A method from Python without a pipeline: `fabloom.method("sinsemi").train(images, steps=200).sample(50)`.

Each call is a pipeline of one step that is run at once, so keys, reuse, checks and errors are those of pipelines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fabloom.errors import PipelineError, UserError, did_you_mean
from fabloom.frames import door
from fabloom.kinds import Artifact
from fabloom.method import TaskSpec
from fabloom.pipeline import Pipeline
from fabloom.progress import Emit, silent
from fabloom.registry import Registry

from . import api
from .given import LOAD, Given, key_of

if TYPE_CHECKING:
    from fabloom.kinds.store import Store

Task = Callable[..., Any]
COUNT = "count"
"""The parameter that a whole number after the inputs stands for."""


class BoundMethod:
    """A method with the store, device and seed that its tasks run with. Each task is a function: inputs, then parameters by name.

    Inputs are given in the order of the task's ports or by name: artifacts, arrays uint8 of images, folders of images, `ref:NAME` or
    `key:HEX`. A whole number after them is the parameter `count`. `seed=` is the seed of the step. What comes back is the committed
    artifact; the tasks of this method that take such a one are functions of it too, as in `model.sample(50)`.
    """

    def __init__(
        self, name: str, *, store: Store | str | Path | None, device: str, seed: int, emit: Emit, registry: Registry | None
    ) -> None:
        self._name, self._device, self._seed, self._emit = name, device, seed, emit
        self._registry = registry or Registry.load()
        self._store = api.open_store(store, self._registry) if store is None or isinstance(store, str | Path) else store
        tasks = self._registry.tasks
        self._tasks = {spec.name: spec for spec in tasks.values() if spec.method.name == name}
        if not self._tasks:
            self._registry.task(f"{name}.train", f"method '{name}'")  # raises for a plugin that cannot be used
        if not self._tasks:
            raise PipelineError("", f"there is no method '{name}'.{did_you_mean(name, self._registry.methods)}")

    def __getattr__(self, task: str) -> Task:
        if task.startswith("_") or task not in self._tasks:
            known = did_you_mean(task, self._tasks)
            raise AttributeError(f"method '{self._name}' has no task '{task}'.{known}")
        return self._function(task)

    def __dir__(self) -> list[str]:
        return sorted(self._tasks)

    def __repr__(self) -> str:
        return f"method({self._name!r}: {', '.join(sorted(self._tasks))}; store {self._store.url})"

    def _function(self, task: str, first: Artifact | None = None) -> Task:
        """The task as a function, with the artifact that it is a function of as its first input."""
        spec = self._tasks[task]

        @door
        def perform(*given: Any, **named: Any) -> Artifact:
            return self._run(spec, given if first is None else (first, *given), named)

        perform.__name__ = perform.__qualname__ = task
        perform.__doc__ = f"{spec.doc}\n\n{_described(spec)}"
        return perform

    def _run(self, spec: TaskSpec, given: tuple[Any, ...], named: dict[str, Any]) -> Artifact:
        seed = named.pop("seed", 0)
        inputs, params = _sorted(spec, given, named)
        pipeline = _pipeline(spec, inputs, params, seed, self._store)
        result = api.run(
            pipeline, store=self._store, seed=self._seed, device=self._device, emit=self._emit, registry=self._registry
        )  # fmt: skip
        made = result[spec.name]
        for name, other in self._tasks.items():
            port = next(iter(other.inputs.values()), None)
            if port is not None and not port.many and issubclass(made.__class__, port.kind) and not hasattr(made, name):
                setattr(made, name, self._function(name, made))
        return made


@door
def bound_method(
    name: str,
    *,
    store: Store | str | Path | None = None,
    device: str = "auto",
    seed: int = 0,
    emit: Emit = silent,
    registry: Registry | None = None,
) -> BoundMethod:
    """A method, ready to run: `fabloom.method("sinsemi").train(images, steps=200).sample(50)`.

    `store`, `device`, `emit` and `registry` are those of `fabloom.run`; `seed` is that of the pipeline. An artifact has the key that a
    pipeline with the same task, parameters and seeds gives it, so either finds what the other made. Raises PipelineError for a name
    that is none.
    """
    return BoundMethod(name, store=store, device=device, seed=seed, emit=emit, registry=registry)


def _described(spec: TaskSpec) -> str:
    """Inputs and parameters, for `help` and a notebook's question mark."""
    ports = [f"  {name}: {port}" for name, port in spec.inputs.items()]
    fields = [
        f"  {name}{'' if field.is_required() else f' = {field.get_default(call_default_factory=True)!r}'}: {field.description or ''}"
        for name, field in spec.params.model_fields.items()
    ]
    return "\n".join([*(["Inputs:", *ports] if ports else []), "Parameters, by name:", *fields, "  seed = 0: that of the step"])


def _sorted(spec: TaskSpec, given: tuple[Any, ...], named: Mapping[str, Any]) -> tuple[dict[str, Given], dict[str, Any]]:
    """What is an input and what is a parameter. Raises UserError for more than there are ports, and for one that is given twice."""
    inputs: dict[str, Given] = {name: value for name, value in named.items() if name in spec.inputs and value is not None}
    params = {name: value for name, value in named.items() if name not in spec.inputs}
    free = [name for name in spec.inputs if name not in named]
    for value in given:
        if isinstance(value, int) and not isinstance(value, bool):
            if COUNT not in spec.params.model_fields or COUNT in params:
                raise UserError(f"{spec.full_name}: {value} has no place; give parameters by name, as in steps={value}")
            params[COUNT] = value
        elif free:
            inputs[free.pop(0)] = value
        else:
            wanted = ", ".join(f"{name}: {port}" for name, port in spec.inputs.items()) or "no inputs"
            raise UserError(f"{spec.full_name} takes {wanted}; a {type(value).__name__} is left over. Give parameters by name.")
    return inputs, params


def _pipeline(spec: TaskSpec, inputs: Mapping[str, Given], params: Mapping[str, Any], seed: int, store: Store) -> Pipeline:
    """One step, and one that reads each folder."""
    steps: dict[str, Any] = {}
    sources: dict[str, Any] = {}
    for port, given in inputs.items():
        several = given if isinstance(given, list | tuple) and port in spec.inputs and spec.inputs[port].many else [given]
        named = []
        for place, one in enumerate(several):
            key = key_of(f"{spec.full_name}: {port}", one, store)
            step = f"{port}-{place}" if len(several) > 1 else f"{port}-read"
            if key is None:
                steps[step] = {"task": LOAD, "params": {"path": str(one)}}
            named.append(step if key is None else f"key:{key}")
        sources[port] = named if port in spec.inputs and spec.inputs[port].many else named[0]
    steps[spec.name] = {"task": spec.full_name, "inputs": sources, "params": dict(params), "seed": seed}
    return Pipeline.parse({"name": spec.method.name, "description": f"{spec.full_name}, from Python", "steps": steps})
