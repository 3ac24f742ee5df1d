"""Which method knows a folder or file: all are asked, those of third parties first, and `images` last."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fabloom.errors import UserError
from fabloom.method import Method, Survey
from fabloom.method.blame import own_fault
from fabloom.registry import Registry

LAST = "images"
"""Takes every folder for one of images, or refuses it."""


def survey(registry: Registry, folder: Path, options: Mapping[str, Any]) -> Survey:
    """What the first method that knows the folder found in it. Raises UserError where none does, and what that method refuses."""
    if not folder.exists():
        raise UserError(f"'{folder}' does not exist. Give a folder of images, or a file of wafer maps.")
    own = {name: registry.origins[name].distribution == "fabloom" for name in registry.methods}
    for name in sorted(own, key=lambda name: (own[name], name == LAST, name)):
        method = registry.methods[name]
        if not looks(method):
            continue
        with own_fault(method, name, "looking at a folder"):
            found = method.survey(folder, options)
        if found is not None:
            return found
    raise UserError(f"no method knows what is in '{folder}'. Give a folder of images, or install a plugin that reads its files.")


def survey_test(registry: Registry, folder: Path, found: Survey) -> Survey:
    """What is in a folder of images to score on, read as those to learn from are. Raises UserError, naming the option."""
    options = {name: value for name, value in found.params.items() if name not in ("path", "masks")}
    try:
        return survey(registry, folder, options)
    except UserError as error:
        raise UserError(f"--test {folder}, read as the images to learn from are ({found.layout}): {error}") from error


def looks(method: type[Method]) -> bool:
    """Whether a method has a `survey` of its own; a task of that name is none."""
    own = inspect.getattr_static(method, "survey")
    return isinstance(own, classmethod) and own.__func__ is not Method.survey.__func__  # type: ignore[attr-defined]
