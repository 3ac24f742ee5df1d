"""The draft as a commented YAML file."""

from __future__ import annotations

import os
import re
import textwrap
from pathlib import Path
from typing import Any

import yaml

from fabloom import plain_yaml
from fabloom.errors import EnvironmentProblem, UserError
from fabloom.pipeline import Pipeline

from .draft import Draft
from .words import found_in_words

WIDTH = 116


def pipeline_name(folder: Path) -> str:
    """A pipeline's name from a folder's, or a file's."""
    named = folder.absolute()
    plain = re.sub(r"[^A-Za-z0-9]+", "-", named.stem if named.is_file() else named.name).strip("-").lower()[:60]
    return plain if plain[:1].isalpha() else f"images-{plain}".rstrip("-")


def content(draft: Draft, folder: Path) -> dict[str, Any]:
    """The pipeline as plain data."""
    what = "Patterns on the wafer maps" if draft.survey.given else "Defects in the images"
    description = f"{what} of {folder.absolute().name}, as fabloom init found them."
    return {"name": pipeline_name(folder), "description": description, "seed": 7, "steps": draft.steps}


def text(draft: Draft, folder: Path) -> str:
    """The file: what was found and chosen as comments, then a step a line. It reads back as `content`."""
    data = content(draft, folder)
    lines = ["# Written by `fabloom init`. It is yours now: change what you know better.", "#", "# Found"]
    lines += [*commented(found_in_words(draft.survey)), "#", "# Chosen", *commented(draft.chosen)]
    lines += ["", *(f"{name}: {flow(data[name])}" for name in ("name", "description", "seed")), "steps:"]
    width = max(map(len, draft.steps)) + 1
    for name, step in draft.steps.items():
        if draft.comments[name]:
            lines += textwrap.wrap(draft.comments[name], WIDTH, initial_indent="  # ", subsequent_indent="  # ")
        one = f"  {name + ':':{width}} {flow(step)}"
        lines += [one] if len(one) <= WIDTH + 20 else [f"  {name}:", *(f"    {key}: {flow(value)}" for key, value in step.items())]
    return "\n".join(lines) + "\n"


def commented(texts: list[str]) -> list[str]:
    """Each text as a point of a list in comments."""
    return [line for one in texts for line in textwrap.wrap(one, WIDTH, initial_indent="#   ", subsequent_indent="#     ")]


def flow(value: Any) -> str:
    """A value on one line."""
    dumped = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=float("inf"), allow_unicode=True)
    return dumped.removesuffix("\n").removesuffix("\n...")


def write(path: Path, draft: Draft, folder: Path) -> None:
    """Write the file whole or not at all. Raises UserError where one is there already, EnvironmentProblem where it cannot be written."""
    written = text(draft, folder)
    Pipeline.parse(plain_yaml.load(written))
    check_free(path)
    made = False
    try:
        with path.open("x", encoding="utf-8") as file:
            made = True
            file.write(written)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        check_free(path)
    except OSError as error:
        if made:
            path.unlink(missing_ok=True)
        raise EnvironmentProblem(f"cannot write '{path}': {error.strerror}. Give another place with --out.") from error


def check_free(path: Path) -> None:
    """Raise UserError where something is at the path already, or its folder is not there."""
    if path.exists() or path.is_symlink():
        raise UserError(f"'{path}' is there already and is not overwritten. Give another name with --out, or move it away.")
    if not path.parent.is_dir():
        raise UserError(f"'{path.parent}' is no folder. Give a place that is there with --out.")
