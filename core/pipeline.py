"""The pipeline as written: YAML or Python, one pydantic model."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from . import plain_yaml
from .errors import PipelineError, UserError, did_you_mean

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]*$", max_length=100)]
"""Part of a file's name (the page of a run), so not longer than file systems take."""
Input = str | list[str]


class Step(BaseModel):
    """One step: the task it runs, where its inputs come from, its parameters and its own seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str = Field(description="<method>.<task>")
    inputs: dict[str, Input] = Field(default_factory=dict, description="port: step name, ref:NAME or key:HEX, or a list of them")
    params: dict[str, Any] = Field(default_factory=dict)
    seed: int = Field(0, description="set it to draw other data from the same task, as for a held-out set")


class Pipeline(BaseModel):
    """A named DAG of steps."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    description: str = ""
    seed: int = 0
    steps: dict[Name, Step] = Field(min_length=1)

    @classmethod
    def load(cls, path: str | Path) -> Pipeline:
        """Read a YAML file. Raises PipelineError that names the file and the place in it."""
        content = document(path)
        return cls.parse(content, origin=str(path))

    @classmethod
    def parse(cls, content: Any, origin: str = "pipeline") -> Pipeline:
        """Validate plain data. Raises PipelineError with the path of the first mistake."""
        if not isinstance(content, dict):
            raise PipelineError("", f"{origin}: a pipeline is a mapping with 'name' and 'steps', not {type(content).__name__}")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            wrong = validation_error(error, cls)
            told = PipelineError("", str(wrong) if origin == "pipeline" else f"{origin}: {wrong}")
            told.path = wrong.path
            raise told from error

    def override(
        self, settings: Sequence[str] = (), seed: int | None = None, fields: Callable[[str], Collection[str]] | None = None
    ) -> Pipeline:
        """A copy with `steps.NAME.params.FIELD=VALUE` (or `.seed=`, `.task=`, `.inputs.PORT=`) applied; values are YAML.

        NAME may be a pattern, as in `steps.*_model.params.preset=published`: every step of such a name is set.
        With `fields`, which names the parameters of a task, those steps alone that have the parameter, where any has.
        """
        content = self.model_dump()
        for setting in settings:
            place, value = assigned("--set", setting, "steps.NAME.params.FIELD=VALUE")
            for exact in _places(content, place, fields):
                _assign(content, exact, copy.deepcopy(value))
        if seed is not None:
            content["seed"] = seed
        return type(self).parse(content)


def document(path: str | Path, what: str = "pipeline") -> Any:
    """The plain data of a YAML file, within the bounds of `plain_yaml`. Raises PipelineError that names the file and the place in it."""
    path = Path(path)
    try:
        with path.open("rb") as file:  # never more than can be one: it may be a device
            data = file.read(plain_yaml.LARGEST + 1)
        if len(data) > plain_yaml.LARGEST:
            raise PipelineError("", f"'{path}' is larger than the {plain_yaml.LARGEST >> 20} MiB of a {what}")
        text = data.decode()
    except OSError as error:
        where = " `fabloom init FOLDER` writes one for your images, `fabloom pipelines` lists those that are registered."
        cure = f".{where}" if what == "pipeline" and isinstance(error, FileNotFoundError) else ""
        raise PipelineError("", f"cannot read the {what} '{path}': {error.strerror}{cure}") from error
    except ValueError as error:  # also a path with a NUL
        raise PipelineError("", f"cannot read the {what} '{path}': {error}. A {what} is UTF-8 text.") from error
    try:
        return plain_yaml.load(text)
    except plain_yaml.NotPlain as error:
        raise PipelineError("", f"'{path}' cannot be read as YAML: {error}") from error


def assigned(option: str, text: str, form: str) -> tuple[str, Any]:
    """(name, value) of 'NAME=VALUE' as a command line has it, the value read as YAML. Raises UserError that names the option."""
    name, equals, value = text.partition("=")
    if not equals:
        raise UserError(f"{option} '{text}': write it as {form}")
    try:
        return name.strip(), plain_yaml.load(value)
    except plain_yaml.NotPlain as error:
        cure = "Text with signs of YAML's goes in quotes, and the whole too, for the shell"
        raise UserError(f"{option} '{text}': the value cannot be read as YAML: {error}. {cure}.") from error


def _places(content: dict[str, Any], place: str, fields: Callable[[str], Collection[str]] | None) -> list[str]:
    """The places that are meant: the place itself, or one for each step whose name matches the pattern in it."""
    head, _, rest = place.partition(".")
    pattern, dot, tail = rest.partition(".")
    if head != "steps" or not set(pattern) & set("*?["):
        return [place]
    matching = [name for name in content["steps"] if fnmatchcase(name, pattern)]
    if not matching:
        raise PipelineError(f"steps.{pattern}", f"no step has such a name; the steps are {', '.join(content['steps'])}")
    section, _, field = tail.partition(".")
    if section == "params" and field and fields is not None:
        first = field.partition(".")[0]  # methods differ: one has steps, another takes none
        matching = [name for name in matching if first in fields(content["steps"][name]["task"])] or matching
    return [f"{head}.{name}{dot}{tail}" for name in matching]


def _assign(content: dict[str, Any], place: str, value: Any) -> None:
    parts = place.split(".")
    if len(parts) > plain_yaml.DEEPEST:
        raise PipelineError(f"{place[:60]}…", f"leads more than {plain_yaml.DEEPEST} deep")
    target: Any = content
    for depth, part in enumerate(parts[:-1]):
        if depth >= 3 and isinstance(target, dict) and target.get(part) is None:
            target[part] = {}  # a nested parameter at its default; the task's model checks the name
        if not isinstance(target, dict) or part not in target:
            known = target if isinstance(target, dict) else ()
            raise PipelineError(".".join(parts[: depth + 1]), f"there is nothing of that name to set.{did_you_mean(part, known)}")
        target = target[part]
        if target is None:
            raise PipelineError(".".join(parts[: depth + 1]), "is null; set the whole of it instead")
    if len(parts) < 2 or not isinstance(target, dict):
        raise PipelineError(place, "cannot be set; write steps.NAME.params.FIELD=VALUE")
    target[parts[-1]] = value


def validation_error(error: ValidationError, model: type[BaseModel], prefix: str = "") -> PipelineError:
    """One of pydantic's complaints as a PipelineError: the place, what is wrong, and the nearest right name.

    A name that is not known comes first: it is often the misspelt one of those that are missing.
    """
    complaints = error.errors()
    first = next((complaint for complaint in complaints if complaint["type"] == "extra_forbidden"), complaints[0])
    place = ".".join(str(part) for part in first["loc"] if part != "[key]")
    path = f"{prefix}.{place}" if prefix and place else prefix or place
    if first["type"] == "extra_forbidden":
        owner = Step if model is Pipeline and len(first["loc"]) > 1 else model
        known = owner.model_fields if owner is not model or len(first["loc"]) == 1 else ()
        return PipelineError(path, f"is not known here.{did_you_mean(str(first['loc'][-1]), known)}")
    shown = repr(first["input"])
    given = f" (given: {shown if len(shown) <= 60 else shown[:57] + '...'})" if first["type"] != "missing" else ""
    return PipelineError(path, f"{first['msg']}{given}")
