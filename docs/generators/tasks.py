"""`reference/tasks.md`, `reference/pipeline.md` and its JSON schema: what a pipeline file may say."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from functools import cache
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from fabloom.method import CONVENTIONAL, TaskSpec
from fabloom.params import Source
from fabloom.pipeline import Pipeline, Step
from fabloom.registry import Registry

from .markdown import NOTE, cell, code, described, prose, table, type_text

BOUNDS = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<", "min_length": "length >=", "max_length": "length <=", "multiple_of": "multiple of"}
MOST = 90
"""Longest default that is shown in full; a longer one is what `fabloom tasks` shows."""

WORDS = {
    "Pipeline.name": "letters, digits, `-` and `_`, beginning with a letter",
    "Pipeline.description": "what it does, for `fabloom pipelines`",
    "Pipeline.seed": "one number for the whole pipeline; `--seed` sets it",
    "Pipeline.steps": "name to step; the order of the file is kept wherever the inputs allow it",
    "Step.params": "what the task takes; unknown names are refused, left-out ones have their defaults",
}


@cache
def registry() -> Registry:
    """What comes with fabloom."""
    return Registry.load()


def nested(hint: Any) -> type[BaseModel] | None:
    """The model inside an annotation, as in `list[Stage]` or `Augment | None`."""
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return hint
    return next(filter(None, (nested(argument) for argument in typing.get_args(hint))), None)


def default_text(field: FieldInfo) -> str:
    """The default as YAML writes it."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, Source):
        return str(value.path)
    plain = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    if isinstance(value, list | tuple):
        plain = [v.model_dump(mode="json") if isinstance(v, BaseModel) else v for v in value]
    text = plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
    return text if len(text) <= MOST else "see its fields"


def bounds(field: FieldInfo) -> str:
    """The limits of a value, as in `>= 1, <= 8`."""
    limits = [(sign, getattr(note, name, None)) for note in field.metadata for name, sign in BOUNDS.items()]
    return ", ".join(f"{sign} {limit:g}" for sign, limit in limits if limit is not None)


def parameter_rows(model: type[BaseModel], owner: str, before: str = "") -> Iterator[list[str]]:
    """A row for each parameter; those of a nested model follow it, with its name and a dot before theirs."""
    for name, field in model.model_fields.items():
        text = described(field.description or WORDS.get(f"{owner}.{name}"), f"{owner}: {before}{name}")
        kind = type_text(field.annotation) + (f", {bounds(field)}" if bounds(field) else "")
        yield [code(before + name), code(kind), code(default_text(field)), cell(text)]
        inside = nested(field.annotation)
        if inside is not None and inside is not Step:
            many = "[]" if "[" in type_text(field.annotation) else ""
            yield from parameter_rows(inside, owner, f"{before}{name}{many}.")


WORKERS = "../concepts/engines.md#one-step-on-several-workers"


def task_text(spec: TaskSpec) -> str:
    """One task: what it does, ports, version, parameters."""
    inputs = ", ".join(f"`{port}: {kind}`" for port, kind in spec.inputs.items()) or "none"
    signed = f" · signature `{spec.signature}`" if spec.signature else ""
    text = f"### {spec.full_name}\n\n{prose(spec.doc, spec.full_name)}\n\n"
    shared = f" · [several workers]({WORKERS}) share `{spec.fanout.count}`" if spec.fanout is not None else ""
    text += f"Inputs: {inputs} · gives `{spec.output.kind}` · version {spec.version}{signed}{shared}\n\n"
    rows = list(parameter_rows(spec.params, spec.full_name))
    return text + (table(["parameter", "type", "default", "what it is"], rows) if rows else "No parameters.\n\n")


def tasks_page() -> str:
    """Every task of every method that comes with fabloom."""
    text = NOTE + "# Tasks\n\n"
    text += (
        "What comes with fabloom; `fabloom tasks` lists what is installed. A task is named `<method>.<task>` in a pipeline. A version goes "
        "up when equal inputs give another output; steps made by an earlier version are then made again.\n\n"
        "A task of one of these names has these ports in every method, so methods can be swapped by one word:\n\n"
    )
    rows = [
        [code(n), code(tag) if tag else "", ", ".join(code(f"{p}: {k}") for p, k in ports.items()), code(convention.output)]
        for n, convention in CONVENTIONAL.items()
        for tag, ports in convention.forms.items()
    ]
    text += table(["task", "signature", "inputs", "gives"], rows)
    text += (
        "Optional inputs may stand beside these. A method that must have others declares a **signature**, as in "
        '`@task(version=1, signature="translating")`, and can be swapped with methods of the same one; '
        "[plugins](../concepts/plugins.md#signatures) tells what it may be. `fabloom tasks METHOD.TASK` shows it.\n\n"
    )
    for name, method in sorted(registry().methods.items()):
        text += f"## {name}\n\n{prose(method.__doc__, f'method {name}')}\n\n"
        text += f"Tags: {', '.join(sorted(method.tags))}. " if method.tags else ""
        text += f"[More about it](../methods/{name}.md).\n\n"
        for spec in sorted((s for s in registry().tasks.values() if s.method is method), key=lambda s: s.name):
            text += task_text(spec)
    return text


def pipeline_page() -> str:
    """The grammar of a pipeline file from its pydantic models."""
    text = f"{NOTE}# Pipeline files\n\nA pipeline is a YAML file, or the same data in Python. "
    text += "[Pipelines](../pipelines.md) tells it with examples.\n\n"
    for model in (Pipeline, Step):
        text += f"## {model.__name__}\n\n{prose(model.__doc__, model.__name__)}\n\n"
        text += table(["field", "type", "default", "what it is"], parameter_rows(model, model.__name__))
    text += (
        "## Sources of an input\n\n"
        + table(
            ["written", "means"],
            [
                ["`NAME`", "what the step of that name gives"],
                ["`ref:NAME`", "what the ref points at when the pipeline is planned; its key is what enters the step's key"],
                ["`key:HEX`", "the artifact of that key, or of a key that begins so (6 characters at least)"],
                ["`[A, B]`", "several of these, where the port takes a list; their order is in the key"],
            ],
        )
        + "## Overrides\n\n`--set PLACE=VALUE` with a value in YAML. Places:\n\n"
        + table(
            ["place", "sets"],
            [
                ["`steps.NAME.params.FIELD`", "a parameter; `FIELD.FIELD` one of a nested model"],
                ["`steps.NAME.task`", "another task with the same ports"],
                ["`steps.NAME.inputs.PORT`", "where an input comes from"],
                ["`steps.NAME.seed`, `seed`", "a step's seed, the pipeline's"],
                ["`steps.PATTERN.…`", "the same of every step whose name matches, with `*`, `?` and `[…]`"],
            ],
        )
        + "## In an editor\n\n"
        "[pipeline.schema.json](pipeline.schema.json) is the JSON schema of all this, with the parameters of every task that comes with "
        "fabloom. An editor that speaks YAML schemas completes and checks a file whose first line is\n\n"
        "```text\n# yaml-language-server: $schema=PATH/pipeline.schema.json\n```\n\n"
        "Tasks of other plugins are accepted with any parameters; `fabloom plan` checks those.\n"
    )
    return text


def schema() -> dict[str, Any]:
    """The JSON schema of a pipeline: the models' own, with the parameters of each built-in task put behind its name."""
    whole = Pipeline.model_json_schema()
    step = whole["$defs"]["Step"]
    branches = []
    for name, spec in sorted(registry().tasks.items()):
        params = spec.params.model_json_schema(ref_template=f"#/$defs/{name}/$defs/{{model}}")
        inner = params.pop("$defs", {})
        whole["$defs"][name] = {**params, **({"$defs": inner} if inner else {})}
        ports = {port: {} for port in spec.inputs}
        branches.append({
            "if": {"properties": {"task": {"const": name}}},
            "then": {"properties": {
                "params": {"$ref": f"#/$defs/{name}"},
                "inputs": {"properties": ports, "additionalProperties": False},
            }},
        })  # fmt: skip
    step["properties"]["task"] = {
        **step["properties"]["task"],
        "anyOf": [{"enum": sorted(registry().tasks)}, {"pattern": r"^[^.\s]+\.[^.\s]+$"}],
    }
    step["allOf"] = branches
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **whole}


def schema_text() -> str:
    """The schema as the file that is kept."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"
