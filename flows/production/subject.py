"""What a deployment carries out: a pipeline, or a line's retraining, looked through before anything is registered.

A deployed run begins on another machine, or later, in a folder of the worker's own. So files are named absolutely, here and in what is run,
or counted from a folder that the deployment names.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ValidationError

from fabloom.errors import EnvironmentProblem, PluginError, UserError
from fabloom.flows.run.api import DEFAULT_STORE, load_pipeline, open_store
from fabloom.flows.run.prefect.order import Order
from fabloom.params import Source
from fabloom.pipeline import Pipeline, document, validation_error
from fabloom.planning.plan import make_plan
from fabloom.registry import Registry
from fabloom.registry.address import check_address

from .preparing import check_names, prepare
from .spec import Spec

if TYPE_CHECKING:
    from fabloom.kinds.store import Store

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._ -]{0,99}")
ELSEWHERE = "A run begins in a folder of its worker's own, perhaps on another machine, and must be able to read it there"
DEVICES = ("auto", "cpu", "cuda", "mps")


@dataclass(frozen=True)
class Subject:
    """A flow of fabloom's and what it is called with."""

    kind: Literal["pipeline", "line"]
    name: str
    """Of the pipeline or the line."""
    parameters: dict[str, Any]
    """Of the flow."""
    folder: str = ""
    """Where a run begins, and relative paths count from; empty: in a folder of its worker's."""
    unplanned: str = ""
    """Why it was not planned against its store; '' where it was."""

    @property
    def tags(self) -> list[str]:
        """By which it is found in Prefect's pages, and by `fabloom deployments`."""
        return ["fabloom", f"{self.kind}:{self.name}"]


@dataclass(frozen=True)
class Asked:
    """What is to be deployed, as the command line says it."""

    what: str
    store: str | None = None
    overrides: Sequence[str] = ()
    seed: int | None = None
    device: str | None = None
    folder: str | None = None
    on_new_data: bool = False


def read_subject(asked: Asked) -> Subject:
    """The pipeline of that name or path, or the line of that specification. Raises UserError.

    It is checked as far as this machine can: words, tasks, parameters, and, where files are here and the store is here or is a bucket
    that lets us in, the whole plan. What stood in the way of a plan is told with the subject.
    """
    look = _Look(asked, Registry.load())
    return look.line() if look.is_line() else look.pipeline()


def check_name(name: str) -> str:
    """The name of a deployment. Raises UserError for one that Prefect's addresses cannot hold."""
    if not NAME.fullmatch(name):
        raise UserError(f"--name '{name}': letters, digits, '.', '_', '-' and blanks, at most 100, beginning with a letter or digit")
    return name


class _Look:
    """One look through a subject."""

    def __init__(self, asked: Asked, registry: Registry) -> None:
        self.asked, self.registry = asked, registry
        self.folder = Path(asked.folder) if asked.folder else None
        if self.folder is not None and not (self.folder.is_absolute() and self.folder.is_dir()):
            raise UserError(f"--folder '{asked.folder}' is no folder of this machine, given by an absolute path")
        self.store = self._store()
        self.what = self._named(asked.what, asked.what)
        if asked.device is not None and asked.device not in DEVICES:
            raise UserError(f"--device '{asked.device}': one of {', '.join(DEVICES)}")

    def is_line(self) -> bool:
        """Whether the file says how a line is retrained, and not how a pipeline goes."""
        if not self._is_file(self.what):
            return False
        content = document(self.what)
        return isinstance(content, dict) and "line" in content and "steps" not in content

    def pipeline(self) -> Subject:
        """The subject of a pipeline."""
        asked = self.asked
        if asked.on_new_data:
            raise UserError("--on-new-data looks at what a line's specification watches; a pipeline says nothing of it. Give a schedule")
        built = load_pipeline(self.what, self.registry).override(asked.overrides, asked.seed, self.registry.fields)
        unplanned = self._plan(self._files(built), lambda store: make_plan(built, self.registry, store))
        order = Order(self.what, self.store, asked.device or "auto", -1 if asked.seed is None else asked.seed, tuple(asked.overrides))
        return Subject("pipeline", built.name, order.parameters(), str(self.folder or ""), unplanned)

    def line(self) -> Subject:
        """The subject of a specification."""
        asked, spec = self.asked, Spec.load(self.what)
        if asked.overrides:
            raise UserError(f"a line's overrides stand in its specification, under 'set': {self.what}; leave --set out")
        path = self._named(spec.pipeline, f"{self.what}: pipeline: '{spec.pipeline}'")
        built = load_pipeline(path, self.registry).override(spec.set, asked.seed, self.registry.fields)
        check_names(spec, built, self.registry)
        files = [*self._files(built), *self._step("evaluate", spec.evaluate.task, spec.evaluate.params)]
        found = spec.model_copy(update={"pipeline": path})
        unplanned = self._plan(files, lambda store: prepare(found, self.registry, store, seed=asked.seed))
        for one in spec.watch:
            if not one.startswith("ref:"):
                self._place(Path(one), f"{self.what}: watch: '{one}'", one)
        parameters = {
            "spec": self.what,
            "store": self.store,
            "device": asked.device or "specified",
            "seed": -1 if asked.seed is None else asked.seed,
            "if_new": asked.on_new_data,
        }
        return Subject("line", spec.line, parameters, str(self.folder or ""), unplanned)

    def _store(self) -> str:
        """The store as a worker is told of it: its URL, or the absolute path of its folder. Raises UserError for a URL with a secret."""
        text = self.asked.store or DEFAULT_STORE
        check_address(text)
        return text if "://" in text else str((self.folder or Path.cwd()) / Path(text).expanduser())

    def _is_file(self, what: str) -> bool:
        """Whether it names a file, as the registry understands it."""
        return what not in self.registry.pipeline_names() and (what.endswith((".yaml", ".yml")) or "/" in what or Path(what).is_file())

    def _named(self, what: str, told: str) -> str:
        """A registered name as it is, or the absolute path of a file."""
        return str(self._place(Path(what), told, what)) if self._is_file(what) else what

    def _place(self, path: Path, told: str, shown: str) -> Path:
        """The path, absolute. Raises UserError for a relative one where no folder is given."""
        if path.is_absolute():
            return path
        if self.folder is None:
            told = f"'{told}'" if told == shown else told
            raise UserError(f"{told} is a relative path. {ELSEWHERE}: write {path.absolute()}, or say by --folder where a run begins")
        return self.folder / path

    def _plan(self, files: Sequence[Path], make: Callable[[Store], object]) -> str:
        """Make the plan on the store, of which nothing is written; or why that cannot be done from here.

        Raises UserError for what does not fit together.
        """
        away = next((path for path in files if not path.exists()), None)
        if away is not None:
            return f"{away} is not on this machine"
        if self.folder not in (None, Path.cwd()):
            return f"runs begin in {self.folder}, and this was asked elsewhere: ask there"
        if "://" not in self.store and not Path(self.store).is_dir():
            return f"there is no store at {self.store} yet"
        try:
            make(open_store(self.store, self.registry, read_only=True))
        except PluginError:
            raise
        except EnvironmentProblem as error:
            if "://" not in self.store:
                raise
            return str(error)
        return ""

    def _files(self, pipeline: Pipeline) -> list[Path]:
        """The files and folders that its steps' parameters name. Raises UserError for tasks, parameters and paths that cannot be."""
        return [path for name, step in pipeline.steps.items() for path in self._step(f"steps.{name}", step.task, step.params)]

    def _step(self, place: str, task: str, given: Mapping[str, Any]) -> list[Path]:
        """The files and folders that a step's parameters name. Raises UserError for a task, parameters or paths that cannot be."""
        spec = self.registry.task(task, f"{place}.task")
        try:
            params = spec.params.model_validate(given)
        except ValidationError as error:
            raise validation_error(error, spec.params, f"{place}.params") from error
        return [
            self._place(source.path, f"{place}.params.{field}: '{source.path}'", str(source.path)) for field, source in _sources(params)
        ]


def _sources(params: BaseModel, before: str = "") -> Iterator[tuple[str, Source]]:
    """(name, source) of every file or folder that parameters name."""
    for name in type(params).model_fields:
        value = getattr(params, name)
        for one in value if isinstance(value, list | tuple) else (value,):
            if isinstance(one, Source):
                yield before + name, one
            elif isinstance(one, BaseModel):
                yield from _sources(one, f"{before}{name}.")
