"""Methods and their typed tasks: the signature is the schema, read once at registration."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from .artifacts import Artifact, Model
from .params import Params

if TYPE_CHECKING:
    from .network import Network, Pretrained
    from .plan import PlannedStep
    from .progress import Messenger

F = TypeVar("F", bound=Callable[..., Any])

CONVENTIONAL: dict[str, tuple[dict[str, str], str]] = {
    "train": ({"images": "ImageSet"}, "Model"),
    "sample": ({"model": "Model"}, "ImageSet"),
    "record": ({"teacher": "Model"}, "OfflineData"),
    "distill": ({"teacher": "Model", "offline": "OfflineData"}, "Model"),
}
"""Ports that a task of this name must have, so that methods can be swapped by one word in a pipeline."""


class Method:
    """A named family of tasks. Subclass it, set `name`, and mark tasks with `@task`."""

    name: ClassVar[str]
    api: ClassVar[str] = ">=1,<2"
    tags: ClassVar[frozenset[str]] = frozenset()
    preload: ClassVar[tuple[str, ...]] = ("torch", "torch._dynamo")
    """Modules that the warm worker imports before it forks a step of this method; optimizers pull in `torch._dynamo` (3 s)."""

    @classmethod
    def check(cls, step: PlannedStep, upstream: Mapping[str, PlannedStep]) -> None:
        """Override to refuse, while planning, what only the step and its neighbours together show to be wrong.

        `upstream` holds the steps of this pipeline that feed the ports, those of a list as `port[0]`, `port[1]`. Raise
        PipelineError; read no data.
        """

    @classmethod
    def prepare(cls, steps: Sequence[PlannedStep], messenger: Messenger) -> None:
        """Override to fetch or refuse, before any step of a run starts, what lies outside the store: pretrained weights, a licence.

        `steps` are those of this method that will run. Called in the process that was asked to run the pipeline, in which torch need
        not be imported; a later step finds what was fetched on this machine. Raise EnvironmentProblem for what cannot be had.
        """

    @classmethod
    def networks(cls, model: Model) -> Mapping[str, Network]:
        """Override to say what `fabloom export --format onnx` and `torch-export` write of a model of this method.

        One graph for each entry, named as its file: small letters, digits, dots, hyphens. Empty: there is nothing to export as a graph.
        """
        return {}

    @classmethod
    def pretrained(cls, model: Model) -> Mapping[str, Pretrained]:
        """Override to say what `fabloom export --format diffusers` writes: for each folder an object with `save_pretrained`.

        The folder `.` is a whole pipeline. Empty: no class of diffusers holds such a model.
        """
        return {}


@dataclass(frozen=True)
class Port:
    """An input of a task: its kind, whether it takes a list, whether it may be left out."""

    kind: type[Artifact]
    many: bool = False
    optional: bool = False

    def __str__(self) -> str:
        text = f"list[{self.kind.kind}]" if self.many else self.kind.kind
        return f"{text} | None" if self.optional else text


@dataclass(frozen=True)
class TaskSpec:
    """A task as the registry knows it, read from its signature."""

    method: type[Method]
    name: str
    version: int
    params: type[Params]
    inputs: dict[str, Port]
    output: type[Artifact]
    function: Callable[..., Artifact]
    doc: str

    @property
    def full_name(self) -> str:
        """`<method>.<task>`."""
        return f"{self.method.name}.{self.name}"


def task(*, version: int) -> Callable[[F], F]:
    """Mark a method's function as a task. Bump `version` when equal inputs would give another output."""

    def mark(function: F) -> F:
        function.__fabloom_version__ = version  # type: ignore[attr-defined]
        return function

    return mark


def read_tasks(method: type[Method]) -> dict[str, TaskSpec]:
    """The tasks of a method. Raises TypeError that quotes the signature where an annotation is missing or wrong."""
    tasks = {}
    for name, function in inspect.getmembers(method, inspect.isfunction):
        version = getattr(function, "__fabloom_version__", None)
        if version is not None:
            tasks[name] = _read(method, name, version, function)
    if not tasks:
        raise TypeError(f"{method.__name__} has no task; mark its functions with @task(version=1)")
    return tasks


def _read(method: type[Method], name: str, version: int, function: Callable[..., Any]) -> TaskSpec:
    signature = inspect.signature(function)
    quoted = f"{method.__name__}.{name}{signature}"

    def wrong(why: str) -> TypeError:
        return TypeError(
            f"{why}\n    def {quoted}\n  a task is written  def {name}(self, ctx: Context, params: P, *, images: ImageSet) -> Model"
        )

    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise wrong(f"@task(version={version!r}): the version is a whole number from 1")
    try:
        hints = typing.get_type_hints(function)
    except Exception as error:
        raise wrong(f"an annotation cannot be resolved ({error})") from error
    parameters = list(signature.parameters.values())
    if [p.name for p in parameters[:3]] != ["self", "ctx", "params"]:
        raise wrong("the first arguments must be self, ctx, params")
    params = hints.get("params")
    if not (isinstance(params, type) and issubclass(params, Params)):
        raise wrong("params must be annotated with a subclass of fabloom.Params")
    output = hints.get("return")
    if not (isinstance(output, type) and issubclass(output, Artifact)):
        raise wrong("the return annotation must be an artifact kind, e.g. -> ImageSet")
    inputs = {}
    for parameter in parameters[3:]:
        if parameter.kind is not inspect.Parameter.KEYWORD_ONLY:
            raise wrong(f"input '{parameter.name}' must be keyword-only: put it after a *")
        port = _port(hints.get(parameter.name), has_default=parameter.default is not inspect.Parameter.empty)
        if port is None:
            raise wrong(f"input '{parameter.name}' must be annotated with an artifact kind, list[Kind] or Kind | None = None")
        inputs[parameter.name] = port
    if name in CONVENTIONAL:
        ports, result = CONVENTIONAL[name]
        required = {n: str(p) for n, p in inputs.items() if not p.optional}
        if required != ports or output.kind != result:
            raise wrong(f"a task named '{name}' has the inputs {ports} and returns {result}, so that methods can be swapped")
    doc = inspect.getdoc(function) or inspect.getdoc(method) or ""
    return TaskSpec(method, name, version, params, inputs, output, function, doc)


def _port(hint: Any, *, has_default: bool) -> Port | None:
    optional = False
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        members = [h for h in typing.get_args(hint) if h is not type(None)]
        if len(members) != 1 or len(typing.get_args(hint)) != 2 or not has_default:
            return None
        hint, optional = members[0], True
    many = typing.get_origin(hint) is list
    if many:
        (hint,) = typing.get_args(hint)
    if isinstance(hint, type) and issubclass(hint, Artifact) and has_default == optional:
        return Port(hint, many, optional)
    return None
