"""The templates of the pages: Jinja2 with every value escaped, and with characters that no text holds shown as such."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from fabloom.flows.report.draw.markup import plain

FOLDER = Path(__file__).parent / "templates"


def rendered(template: str, **values: Any) -> Markup:
    """A template of this room with its values. What is no `Markup` is text."""
    return Markup(_environment().get_template(template).render(values))  # noqa: S704  autoescaped


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, finalize=_shown, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["css"] = Markup(css())  # noqa: S704  our own
    return environment


@functools.cache
def css() -> str:
    """The style of the pages."""
    return (FOLDER / "page.css").read_text(encoding="utf-8")


def _shown(value: Any) -> Any:
    return value if isinstance(value, Markup) else "" if value is None else plain(value)
