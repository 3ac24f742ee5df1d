"""What a deployment carries out: a pipeline, or a line's retraining, looked through before anything is registered.

A deployed run begins on another machine, or later, in a folder of the worker's own. So files are named absolutely, here and in what is run.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from fabloom.errors import UserError
from fabloom.flows.run.api import DEFAULT_STORE, load_pipeline, open_store
from fabloom.flows.run.prefect.order import Order
from fabloom.params import Source
from fabloom.pipeline import Pipeline, document, validation_error
from fabloom.planning.plan import make_plan
from fabloom.registry import Registry
from fabloom.registry.address import check_address

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,99}")
ELSEWHERE = "A run begins in a folder of its worker's own, perhaps on another machine, and must be able to read it there"


@dataclass(frozen=True)
class Subject:
    """A flow of fabloom's and what it is called with."""

    kind: Literal["pipeline", "line"]
    name: str
    """Of the pipeline or the line."""
    parameters: dict[str, Any]
    """Of the flow."""
    watched: bool = False
    """Whether a line says what to watch."""

    @property
    def tags(self) -> list[str]:
        """By which it is found in Prefect's pages, and by `fabloom deployments`."""
        return ["fabloom", f"{self.kind}:{self.name}"]


def read_subject(what: str, store: str | None, overrides: Sequence[str] = (), *, seed: int | None = None, device: str = "auto") -> Subject:
    """The pipeline of that name or absolute path. Raises UserError.

    It is checked as far as this machine can: words, tasks, parameters, and, where the store is here, the whole plan.
    """
    registry = Registry.load()
    place = read_place(store)
    _readable_there(what, registry)
    built = load_pipeline(what, registry).override(overrides, seed)
    _check(built, registry, place)
    order = Order(what, place, device, -1 if seed is None else seed, tuple(overrides))
    return Subject("pipeline", built.name, order.parameters())


def check_name(name: str) -> str:
    """The name of a deployment. Raises UserError for one that Prefect's addresses cannot hold."""
    if not NAME.fullmatch(name):
        raise UserError(f"--name '{name}': letters, digits, '.', '_', '-' and blanks, at most 100, beginning with a letter or digit")
    return name


def read_place(store: str | None) -> str:
    """The store as a worker is told of it: its URL, or the absolute path of its folder. Raises UserError for a URL with a secret."""
    text = store or DEFAULT_STORE
    check_address(text)
    return text if "://" in text else str(Path(text).expanduser().absolute())


def is_file(what: str) -> bool:
    """Whether it names a file, as the registry understands it."""
    return what.endswith((".yaml", ".yml")) or "/" in what


def _readable_there(what: str, registry: Registry) -> None:
    if what not in registry.pipeline_names() and (is_file(what) or Path(what).is_file()) and not Path(what).is_absolute():
        raise UserError(f"'{what}' is a relative path. {ELSEWHERE}: write {Path(what).absolute()}")


def _check(pipeline: Pipeline, registry: Registry, place: str) -> None:
    """Tasks, parameters and files; the plan too, where the store is here. Nothing is made or written."""
    for name, step in pipeline.steps.items():
        spec = registry.task(step.task, f"steps.{name}.task")
        try:
            params = spec.params.model_validate(step.params)
        except ValidationError as error:
            raise validation_error(error, spec.params, f"steps.{name}.params") from error
        for field, source in _sources(params):
            if not source.path.is_absolute():
                raise UserError(
                    f"steps.{name}.params.{field}: '{source.path}' is a relative path. {ELSEWHERE}: "
                    f"--set steps.{name}.params.{field}={source.path.absolute()}"
                )
    try:
        store = open_store(place, registry, read_only=True)
    except UserError:
        return  # there is none yet, or not here
    make_plan(pipeline, registry, store)


def _sources(params: BaseModel, before: str = "") -> Iterator[tuple[str, Source]]:
    """(name, source) of every file or folder that parameters name."""
    for name in type(params).model_fields:
        value = getattr(params, name)
        for one in value if isinstance(value, list | tuple) else (value,):
            if isinstance(one, Source):
                yield before + name, one
            elif isinstance(one, BaseModel):
                yield from _sources(one, f"{before}{name}.")


def is_specification(what: str) -> bool:
    """Whether a file says how a line is retrained, and not how a pipeline goes. Raises UserError for one that cannot be read."""
    if not is_file(what):
        return False
    content = document(what)
    return isinstance(content, dict) and "line" in content and "steps" not in content
