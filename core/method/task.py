"""`@task`, and reading a method's tasks from its signatures: the signature is the schema."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from typing import Any, TypeVar

from fabloom.kinds import Artifact
from fabloom.params import Params

from .convention import signature_of
from .fanout import Fanout
from .method import Method, Port, TaskSpec
from .origin import Origin, origin_of

F = TypeVar("F", bound=Callable[..., Any])


def task(*, version: int, signature: str = "", fanout: Fanout | None = None) -> Callable[[F], F]:
    """Mark a method's function as a task. Bump `version` when equal inputs would give another output.

    `signature` is for a conventional task (train, sample, record, distill) that requires other inputs than the name has:
    "conditional" of a `sample` that needs a table of labels, "translating" of one that turns images into others. Methods of one
    signature have the same ports, and stand in for each other by one word in a pipeline. `fanout` says that several workers can make
    the rows of what comes out.
    """

    def mark(function: F) -> F:
        function.__fabloom_version__ = version  # type: ignore[attr-defined]
        function.__fabloom_signature__ = signature  # type: ignore[attr-defined]
        function.__fabloom_fanout__ = fanout  # type: ignore[attr-defined]
        return function

    return mark


def read_tasks(method: type[Method], origin: Origin | None = None) -> dict[str, TaskSpec]:
    """The tasks of a method, as of `origin`; without one the distribution is guessed from the package's name.

    Raises TypeError that quotes the signature where an annotation is missing or wrong.
    """
    origin = origin or origin_of(method.__module__)
    tasks = {}
    for name, function in inspect.getmembers(method, inspect.isfunction):
        version = getattr(function, "__fabloom_version__", None)
        if version is not None:
            tasks[name] = _read(method, name, version, function, origin)
    if not tasks:
        raise TypeError(f"{method.__name__} has no task; mark its functions with @task(version=1)")
    return tasks


def _read(method: type[Method], name: str, version: int, function: Callable[..., Any], origin: Origin) -> TaskSpec:
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
    fanout: Fanout | None = getattr(function, "__fabloom_fanout__", None)
    if fanout is not None and (why := fanout.problem(params)):
        raise wrong(why)
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
    required = {n: str(p) for n, p in inputs.items() if not p.optional}
    try:
        signed = signature_of(name, getattr(function, "__fabloom_signature__", ""), required, output.kind)
    except ValueError as error:
        raise wrong(str(error)) from error
    doc = inspect.getdoc(function) or inspect.getdoc(method) or ""
    return TaskSpec(method, name, version, params, inputs, output, function, doc, signed, origin, fanout)


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
